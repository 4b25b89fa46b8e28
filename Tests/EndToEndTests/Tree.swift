import Foundation
import TestKit
import Testing

/// A file tree as the fixtures describe it and as the kernel shows it.
struct Tree: Equatable {
  struct Node: Equatable {
    var mode: String
    var uid: Int
    var gid: Int
    var mtime: Int
    var nlink: Int
    var inode: Int
    var rdev: [Int]?
    var size: Int?
    var target: String?
    var digest: String?
    /// Extended attributes, their values in hexadecimal.
    var attributes: [String: String]
  }

  var nodes: [String: Node] = [:]

  init(fixture name: String) throws {
    let list =
      try JSONSerialization.jsonObject(with: Data(try Fixtures.bytes(name))) as? [[String: Any]] ?? []
    for entry in list {
      func number(_ key: String) -> Int { entry[key] as? Int ?? -1 }
      guard let path = entry["path"] as? String else { continue }
      nodes[path] = Node(
        mode: entry["mode"] as? String ?? "", uid: number("uid"), gid: number("gid"), mtime: number("mtime"),
        nlink: number("nlink"), inode: number("ino"), rdev: entry["rdev"] as? [Int],
        size: entry["sha256"] == nil ? nil : number("size"), target: entry["target"] as? String,
        digest: entry["sha256"] as? String, attributes: entry["xattr_hex"] as? [String: String] ?? [:])
    }
  }

  init(at directory: String) throws {
    let paths = try Program.run(["find", ".", "-print0"], directory: directory).output.split(separator: "\0")
    for path in paths {
      let name = path == "." ? "." : String(path.dropFirst(2))
      nodes[name] = try Self.node("\(directory)/\(name)")
    }
    for (name, attributes) in try Self.attributes(in: directory) { nodes[name]?.attributes = attributes }
  }

  private static func node(_ path: String) throws -> Node {
    var status = stat()
    try #require(lstat(path, &status) == 0)
    let digits = String(status.st_mode, radix: 8)
    var node = Node(
      mode: String(repeating: "0", count: max(0, 6 - digits.count)) + digits, uid: Int(status.st_uid),
      gid: Int(status.st_gid), mtime: status.st_mtim.tv_sec, nlink: Int(status.st_nlink),
      inode: Int(status.st_ino),
      attributes: [:])
    switch status.st_mode & S_IFMT {
    case S_IFLNK: node.target = try FileManager.default.destinationOfSymbolicLink(atPath: path)
    case S_IFREG:
      node.size = Int(status.st_size)
      // sha256sum marks a line with a backslash if the name has one.
      node.digest = String(try Program.run(["sha256sum", path]).output.drop { $0 == "\\" }.prefix(64))
    case S_IFCHR, S_IFBLK:
      let device = UInt64(status.st_rdev)
      node.rdev = [Int((device >> 8) & 0xFFF), Int((device & 0xFF) | ((device >> 12) & 0xFFF00))]
    default: break
    }
    return node
  }

  /// The extended attributes of every node, by getfattr.
  private static func attributes(in directory: String) throws -> [String: [String: String]] {
    let dump = try Program.run(
      ["getfattr", "-R", "-h", "-d", "-m", "-", "-e", "hex", "."], directory: directory)
    try #require(dump.status == 0, "\(dump.errors)")
    var attributes: [String: [String: String]] = [:]
    var path = ""
    for line in dump.output.split(separator: "\n") {
      if line.hasPrefix("# file: ") {
        path = String(line.dropFirst(8))
      } else if let equals = line.firstIndex(of: "=") {
        attributes[path, default: [:]][String(line[..<equals])] = String(line[equals...].dropFirst(3))
      }
    }
    return attributes
  }

  /// The differences to another tree, in words.
  func differences(to other: Tree) -> [String] {
    Set(nodes.keys).union(other.nodes.keys).sorted().compactMap { path in
      let (left, right) = (nodes[path], other.nodes[path])
      if left == right { return nil }
      return "\(path): \(left.map { "\($0)" } ?? "missing") / \(right.map { "\($0)" } ?? "missing")"
    }
  }
}
