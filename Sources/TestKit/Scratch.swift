import Foundation

/// A directory of a test's own, removed with it.
public final class Scratch: Sendable {
  /// The directory's path.
  public let path: String

  /// Makes a directory.
  public init() throws {
    // Short, for sockets stand in it, whose paths may not be long.
    path = "/tmp/ashlar-test-\(String(UInt32.random(in: 0...UInt32.max), radix: 36))"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit {
    try? FileManager.default.removeItem(atPath: path)
  }

  /// A path in it.
  public func callAsFunction(_ name: String) -> String { "\(path)/\(name)" }

  /// Writes a file in it and returns its path.
  @discardableResult
  public func write(_ name: String, _ bytes: some Sequence<UInt8>) throws -> String {
    try Data(bytes).write(to: URL(filePath: self(name)))
    return self(name)
  }

  /// Writes a text file in it and returns its path.
  @discardableResult
  public func write(_ name: String, text: String) throws -> String { try write(name, Array(text.utf8)) }

  /// A file's bytes.
  public func bytes(_ name: String) throws -> [UInt8] {
    Array(try Data(contentsOf: URL(filePath: self(name))))
  }

  /// Copies a file or folder of the fixtures into it, and returns its path.
  @discardableResult
  public func copyFixture(_ name: String) throws -> String {
    let target = self(name.split(separator: "/").last.map(String.init) ?? name)
    try FileManager.default.copyItem(atPath: Fixtures.path(name), toPath: target)
    return target
  }
}
