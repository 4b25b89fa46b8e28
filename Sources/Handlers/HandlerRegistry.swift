import BlockCore
import FoundationEssentials
import Glibc
import LinuxIO
import SystemPackage

/// The handlers that are installed, found by their files and asked in processes of their own.
///
/// It loads none of their code, so that one that breaks when it is loaded breaks nothing else.
public struct HandlerRegistry: Sendable {
  /// Where handlers are installed besides this engine: `lib/ashlar/handlers` beneath the programs' prefix.
  public static func standardDirectory(program: String) -> String {
    FilePath(program).removingLastComponent().removingLastComponent().appending("lib/ashlar/handlers").string
  }

  /// A handler that is installed, and how its process is started.
  public struct Entry: Sendable, Hashable {
    /// What it says of itself.
    public let description: HandlerDescription
    /// The handler's file.
    public let path: String
    /// The program that serves its disks.
    public let program: String
    /// What the program gets in front of its other arguments.
    public let arguments: [String]

    /// The arguments of a data server that is given its listening socket as this descriptor.
    public func serverArguments(listener: Int32) -> [String] { arguments + ["--listener", "\(listener)"] }
  }

  /// What is installed: the handlers that answered, and what is wrong with the others.
  public struct Listing: Sendable {
    /// By subtype; of two files with the same one, the first in the order of directories and names.
    public var entries: [String: Entry] = [:]
    /// A line for each file that is no use.
    public var problems: [BlockError] = []
  }

  private let directories: [String]
  private let loader: String
  private let answerDeadline: Duration
  private let executor = BlockingExecutor(label: "ashlar handlers")

  /// Makes a registry.
  ///
  /// - Parameters:
  ///   - directories: Where to look, in order; one that is not there is empty.
  ///   - loader: The path of `ashlar-handler`, the program that loads shared objects.
  ///   - answerDeadline: How long a handler may take for an answer.
  public init(directories: [String], loader: String, answerDeadline: Duration = .seconds(10)) {
    self.directories = directories
    self.loader = loader
    self.answerDeadline = answerDeadline
  }

  /// Asks all handlers what they are, at the same time: one that hangs holds up nobody but the caller, and that once.
  public func list() async -> Listing {
    var listing = Listing()
    var paths: [String] = []
    for directory in directories {
      let names = SmallFile.entries(directory).filter { HandlerLibrary.kind(ofFile: $0) != nil }.sorted()
      if names.count > Limits.handlersInDirectory {
        listing.problems.append(
          BlockError(
            .exhausted, step: "list the handlers in", object: directory,
            cause: "of its \(names.count) files the first \(Limits.handlersInDirectory) are looked at"))
      }
      paths += names.prefix(Limits.handlersInDirectory).map { "\(directory)/\($0)" }
    }
    let questions = paths.map { path in
      executor.start { [self] () async throws(BlockError) in try describe(path) }
    }
    for question in questions {
      do throws(BlockError) {
        try add(try await question.value.get(), to: &listing)
      } catch {
        listing.problems.append(error)
      }
    }
    return listing
  }

  private func add(_ entry: Entry, to listing: inout Listing) throws(BlockError) {
    let subtype = entry.description.subtype
    if let other = listing.entries[subtype] {
      throw BlockError(
        .conflict, step: "use the handler", object: entry.path,
        cause: "\(other.path) has the subtype \(subtype) already")
    }
    listing.entries[subtype] = entry
  }

  /// Asks the handler in a file what it is; waits on the calling thread.
  ///
  /// - Throws: Why it is no use: `unavailable` with how its process ended, `timedOut`, `corrupt`.
  public func describe(_ path: String) throws(BlockError) -> Entry {
    let name = FilePath(path).lastComponent?.string ?? path
    guard let kind = HandlerLibrary.kind(ofFile: name) else {
      throw BlockError(
        .invalidArgument, step: "describe the handler", object: path,
        cause: "its name is none that handlers have",
        remedy: "Call it ashlar_handler_NAME or ashlar_handler_NAME.so.")
    }
    // Loading anything else might never end.
    let file = try LinuxFileSystem().resolve(path)
    let isFile = try LinuxFileSystem().kind(of: file) == .file
    guard isFile, LinuxFileSystem.byteCount(ofFile: file) > 0 else {
      throw BlockError(
        .invalidArgument, step: "describe the handler", object: path,
        cause: isFile ? "it is empty" : "it is no regular file",
        remedy: "Put the handler there again, or remove it.")
    }
    let (program, arguments) = kind == .program ? (path, []) : (loader, ["--plugin", path])
    let answer = try ask(program, arguments + ["--describe"], path, HandlerDescription.self)
    let description = answer.message
    try HandlerName.check(description.subtype, of: "the handler \(path)")
    return Entry(
      description: HandlerDescription(
        subtype: description.subtype, description: description.description, kind: kind),
      path: path, program: program, arguments: arguments)
  }

  /// Asks a handler whether a configuration may work; waits on the calling thread.
  ///
  /// - Parameter configuration: What stands behind the subtype's `/`.
  /// - Throws: `unavailable` with how its process ended, `timedOut`, `corrupt`.
  public func check(_ configuration: String, with entry: Entry) throws(BlockError) -> HandlerVerdict {
    try ask(
      entry.program, entry.arguments + ["--check", configuration], entry.path, HandlerVerdict.self
    ).message
  }

  private func ask<Message: Decodable>(
    _ program: String, _ arguments: [String], _ path: String, _ type: Message.Type
  ) throws(BlockError) -> (message: Message, end: ChildProcess.End) {
    let answer: ChildProcess.Answer
    do throws(BlockError) {
      answer = try ChildProcess.ask(
        program, arguments, limit: Limits.handlerDescriptionBytes, deadline: answerDeadline)
    } catch {
      throw BlockError(
        error.kind, step: "ask the handler", object: path, cause: error.cause,
        remedy: error.kind == .permissionDenied ? "Make it executable: chmod +x \(path)." : error.remedy,
        errno: error.errno)
    }
    do {
      return (try JSONDecoder().decode(type, from: Data(answer.output)), answer.end)
    } catch {
      guard case .exited(0) = answer.end else {
        let said = String(decoding: answer.output.prefix(1024), as: UTF8.self)
        throw BlockError(
          .unavailable, step: "ask the handler", object: path,
          cause: said.isEmpty ? "\(answer.end)" : "\(answer.end) and said: \(said)")
      }
      throw BlockError(
        .corrupt, step: "ask the handler", object: path,
        cause: answer.output.isEmpty
          ? "it has ended without an answer" : "its answer is not the JSON object that is due")
    }
  }
}
