import ArgumentParser
import Attachments
import BlockCore
import Engine
import Handlers
import LinuxIO
import Logging
import TCMUService

/// Which backstores that others make a manager serves.
struct BackstoreOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Serve backstores that others make in configfs: all, or subtypes with commas between them.",
      discussion: "Built in are \(BackstoreSpec.Subtype.allCases.map(\.rawValue).joined(separator: ", "))."))
  var serveBackstores: String?

  @Option(
    name: .customLong("handlers"),
    help: ArgumentHelp(
      "Where handlers of further subtypes are; may be given more than once.",
      discussion: "Without it: lib/ashlar/handlers beneath the prefix that the programs are installed under.",
      valueName: "directory"))
  var handlerDirectories: [String] = []

  /// Finds out what is to be served, and by which programs.
  ///
  /// - Parameters:
  ///   - program: The path of `ashlard`.
  ///   - log: For handlers that are no use.
  /// - Returns: `nil` if none is to be served.
  /// - Throws: `invalidArgument` for a subtype that nobody knows.
  func plan(program: String, log: Logger) async throws(BlockError) -> BackstorePlan? {
    guard let serveBackstores else { return nil }
    let directory = program.lastIndex(of: "/").map { String(program[..<$0]) } ?? "."
    let directories =
      handlerDirectories.isEmpty
      ? [HandlerRegistry.standardDirectory(program: program)] : handlerDirectories
    let registry = HandlerRegistry(directories: directories, loader: "\(directory)/ashlar-handler")
    let listing = await registry.list()
    for problem in listing.problems { log.warning("\(problem)") }
    var plan = BackstorePlan(registry: registry, handlers: listing.entries)
    if serveBackstores == "all" { return plan }
    let wanted = Set(serveBackstores.split(separator: ",").map(String.init))
    if let stranger = wanted.subtracting(plan.subtypes).min() {
      throw BlockError(
        .invalidArgument, step: "serve", object: "backstores of the subtype \(stranger)",
        cause: "nobody here knows it",
        remedy: "Known are \(plan.subtypes.sorted().joined(separator: ", ")), and all.")
    }
    plan.subtypes = wanted
    return plan
  }
}

extension BackstoreOptions {
  /// Begins to serve, and to answer questions about it over the message bus.
  ///
  /// Without the kernel's driver, or without a bus, the manager does what needs none of them.
  ///
  /// - Throws: What keeps others' backstores from being served, but that this host has no TCM-USER.
  func serve(_ plan: BackstorePlan, _ manager: Manager, _ log: Logger) async throws(BlockError) {
    let level = AdjustableLog.current
    do throws(BlockError) {
      // Both last as long as the process.
      _ = try await BackstoreService.start(manager, .init(subtypes: plan.subtypes), log: log)
      _ = try TCMUConfWatch(log: log) { conf in
        AdjustableLog.current = conf.logLevel?.loggerLevel ?? level
        if let directory = conf.logDirectory {
          log.notice(
            "log_dir = \(directory) of tcmu.conf is for tcmu-runner: this log goes to standard error")
        }
      }
    } catch  where error.kind == .unavailable {
      log.error("others' backstores are not served: \(error)")
      return
    }
    do throws(BlockError) {
      _ = try await TCMUBusService.start(
        handlers: try plan.busHandlers(),
        checkConfig: { configuration in
          do throws(BlockError) {
            try await plan.check(configuration)
            return .valid
          } catch {
            return .invalid("\(error)")
          }
        }, waitsForBus: true, log: log)
    } catch {
      log.warning("targetcli does not see what is served here: \(error)")
    }
  }
}

extension BackstoreOptions {
  /// Sees to it that nobody waits for our answers when there is no manager any more.
  func stopServing(_ log: Logger) {
    if serveBackstores != nil { Self.takeBackPromise(log) }
  }

  /// Takes back what was promised to the kernel: that events are answered.
  static func takeBackPromise(_ log: Logger) {
    do throws(BlockError) {
      try BackstoreService.endAnswers()
    } catch {
      log.log(level: error.kind == .unavailable ? .debug : .warning, "\(error)")
    }
  }
}

extension BackstorePlan {
  /// The handlers as the bus shows them.
  fileprivate func busHandlers() throws(BlockError) -> [TCMUService.HandlerDescription] {
    var handlers: [TCMUService.HandlerDescription] = []
    for (subtype, description) in descriptions {
      handlers.append(try .init(subtype: subtype, configDescription: description))
    }
    return handlers
  }
}
