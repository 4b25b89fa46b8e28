import Foundation
import TestKit

/// The project's own files, as the repository has them.
struct SourceTree {
  /// A file.
  struct File: CustomStringConvertible {
    let path: String
    let lines: [String]

    var description: String { path }
  }

  static let root = Fixtures.root.replacing("/fixtures", with: "")

  /// The files with one of these endings beneath some folders; the test's own is left out.
  static func files(_ endings: [String], in folders: [String]) throws -> [File] {
    var files: [File] = []
    for folder in folders {
      let paths =
        FileManager.default.enumerator(atPath: "\(root)/\(folder)")?.compactMap { $0 as? String } ?? []
      for path in paths where endings.contains(where: path.hasSuffix) && !path.contains("TidyTests") {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: "\(root)/\(folder)/\(path)", isDirectory: &isFolder),
          !isFolder.boolValue
        else { continue }
        files.append(try file("\(folder)/\(path)"))
      }
    }
    return files
  }

  /// One file.
  static func file(_ path: String) throws -> File {
    let text = try String(contentsOfFile: "\(root)/\(path)", encoding: .utf8)
    return File(
      path: path, lines: text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init))
  }
}
