import Foundation
import LinuxIO
import TestKit
import Testing

/// Handlers that are compiled for a test, and those that the host has.
enum Plugins {
  /// Where the repository is.
  static let root = Fixtures.root.replacing("/fixtures", with: "")
  /// Where the programs are: beside the test's own build.
  static let programs: String = {
    let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    return own.split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 }
  }()
  /// The program that loads handlers.
  static var loader: String { "\(programs)/ashlar-handler" }

  /// Compiles a source of the fixtures into a shared object.
  static func compile(_ source: String, _ definitions: [String] = [], to path: String) throws {
    let (status, output) = try run(
      "/usr/bin/cc",
      definitions.map { "-D\($0)" } + [
        "-O1", "-fPIC", "-shared", "-I\(root)/Sources/CAshlarHandler/include",
        "-I\(root)/Sources/CTCMURunner",
        Fixtures.path("handlers/\(source)"), "-o", path, "-lpthread",
      ])
    try #require(status == 0, "\(output)")
  }

  /// The handler of Debian's tcmu-runner package of this name.
  static func debian(_ name: String) throws -> String {
    let (status, output) = try run("/usr/bin/dpkg", ["-L", "tcmu-runner"])
    try #require(status == 0, "the package tcmu-runner is not installed (scripts/deps)")
    let path = output.split(separator: "\n").first { $0.hasSuffix("/handler_\(name).so") }
    return String(try #require(path, "the package tcmu-runner has no handler_\(name).so"))
  }

  /// Runs a program to its end.
  @discardableResult
  static func run(_ program: String, _ arguments: [String]) throws -> (status: Int32, output: String) {
    // The shell's only part is to bring errors and output together.
    let answer = try ChildProcess.ask(
      "/bin/sh", ["-c", "exec \"$0\" \"$@\" 2>&1", program] + arguments, limit: 1 << 20,
      deadline: .seconds(120))
    guard case .exited(let status) = answer.end else { return (-1, "\(answer.end)") }
    return (status, String(decoding: answer.output, as: UTF8.self))
  }
}
