import Foundation

/// Running programs in tests.
public enum Program {
  /// What a program came to.
  public struct Outcome: Sendable {
    /// Its exit status; 128 and the signal's number if one ended it.
    public let status: Int32
    /// What it wrote to standard output.
    public let output: String
    /// What it wrote to standard error.
    public let errors: String

    /// The output's only line.
    public var line: String { output.trimmingCharacters(in: .whitespacesAndNewlines) }
  }

  /// Runs a program, found in `PATH`, and waits for its end on the calling thread.
  ///
  /// - Parameters:
  ///   - seconds: How long it may run; then it is ended, with status 124.
  ///   - environment: Variables that it has beside the test's own.
  public static func run(
    _ command: [String], directory: String = "/", seconds: Int = 120, environment: [String: String] = [:]
  ) throws -> Outcome {
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/timeout")
    process.arguments = ["-k", "5", "\(seconds)"] + command
    process.currentDirectoryURL = URL(filePath: directory)
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    let files = try Scratch()
    // Into files: a daemon that a command leaves behind must not keep us waiting for a pipe's end.
    for name in ["out", "err"] { try files.write(name, text: "") }
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = try FileHandle(forWritingTo: URL(filePath: files("out")))
    process.standardError = try FileHandle(forWritingTo: URL(filePath: files("err")))
    try process.run()
    process.waitUntilExit()
    return Outcome(
      status: process.terminationReason == .exit
        ? process.terminationStatus : 128 + process.terminationStatus,
      output: String(decoding: try files.bytes("out"), as: UTF8.self),
      errors: String(decoding: try files.bytes("err"), as: UTF8.self))
  }

  /// Runs a program as ``run(_:directory:seconds:environment:)`` does, and waits without a thread of Swift's own
  /// pool: for a program that speaks to tasks of the test.
  public static func running(
    _ command: [String], seconds: Int = 120, environment: [String: String] = [:]
  ) async throws -> Outcome {
    try await withCheckedThrowingContinuation { continuation in
      Thread.detachNewThread {
        continuation.resume(with: Result { try run(command, seconds: seconds, environment: environment) })
      }
    }
  }
}
