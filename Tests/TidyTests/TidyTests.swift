import Foundation
import Testing

/// The rules of the house that no compiler checks.
@Suite struct TidyTests {
  private let folders = ["Sources", "Tests", "Fuzz"]

  @Test func filesAndFunctionsAreShort() throws {
    for file in try SourceTree.files([".swift", ".c", ".h"], in: folders) {
      #expect(file.lines.count <= 401, "\(file)")
      for (start, line) in file.lines.enumerated() {
        guard let match = line.firstMatch(of: #/^( *)(?:[@a-z]\S* )*(?:func|init|deinit)\b.*\{$/#) else {
          continue
        }
        let end = file.lines[start...].firstIndex { $0 == "\(match.1)}" } ?? start
        #expect(end - start < 70, "\(file):\(start + 1)")
      }
    }
  }

  /// The load that the sanitizers see asks whatever can be asked.
  @Test func everyRouteIsAskedUnderLoad() throws {
    let asked = try SourceTree.file("Tests/Stress/Routes.swift").lines.joined(separator: "\n")
    var count = 0
    for line in try SourceTree.file("docs/api.md").lines {
      guard let match = line.firstMatch(of: #/^\| `([A-Z]+) (\/v1\/[^?`]*)/#) else { continue }
      count += 1
      let (method, path) = (match.1, match.2)
      // They end the manager, or have a phase of their own.
      if ["/v1/shutdown", "/v1/restart"].contains(path) { continue }
      let verb = path.split(separator: "/").last ?? ""
      let family = "\(path.dropLast(verb.count))\\(verb)"
      let isAsked =
        asked.contains("Route(\"\(method)\", \"\(path)\")")
        || (asked.contains("Route(\"\(method)\", \"\(family)\")") && asked.contains("\"\(verb)\""))
      #expect(isAsked, "\(method) \(path)")
    }
    #expect(count > 30)
  }

  @Test func nothingIsForcedOrSwallowed() throws {
    for file in try SourceTree.files([".swift"], in: folders) {
      let text = file.lines.joined(separator: "\n")
      for word in ["try!", "unsafeFlags", "TODO", "FIXME"] {
        #expect(!text.contains(word), "\(file): \(word)")
      }
      #expect(text.firstMatch(of: #/catch[^{\n]*\{\s*(//[^\n]*\s*)*\}/#) == nil, "\(file): an empty catch")
      for (number, line) in file.lines.enumerated() where line.contains("@unchecked Sendable") {
        let above = file.lines[max(0, number - 6)...number].joined()
        #expect(above.contains("Proof for `@unchecked Sendable`"), "\(file):\(number + 1)")
      }
    }
    let package = try SourceTree.file("Package.swift")
    #expect(!package.lines.contains { $0.contains("unsafeFlags") })
  }

  /// What stands in a protocol is documented there, and not again at every witness.
  @Test func publicDeclarationsAreDocumented() throws {
    let files = try SourceTree.files([".swift"], in: ["Sources"])
    var witnesses: Set<String> = ["description", "encode", "debugDescription", "hash", "==", "<"]
    for file in files {
      var isInProtocol = false
      for line in file.lines {
        if line.contains(#/^(public )?protocol /#) { isInProtocol = true }
        if line == "}" { isInProtocol = false }
        if isInProtocol, let name = Self.name(in: line) { witnesses.insert(name) }
      }
    }
    // Of protocols that others have written.
    witnesses.formUnion(["next", "enqueue", "init(from", "service"])
    for file in files {
      for (number, line) in file.lines.enumerated() where line.contains(#/^ *public (?!extension|import)/#) {
        guard let name = Self.name(in: line), !witnesses.contains(name) else { continue }
        if line.contains("init(from ") { continue }
        var above = number - 1
        while above > 0, file.lines[above].contains(#/^ *@/#) { above -= 1 }
        #expect(file.lines[above].contains("///"), "\(file):\(number + 1): \(name)")
      }
    }
  }

  private static func name(in line: String) -> String? {
    let kinds =
      #/(?:func|var|let|struct|enum|class|actor|protocol|typealias|case|subscript) `?([A-Za-z_]+|==|<)/#
    if let match = line.firstMatch(of: kinds) { return String(match.1) }
    return line.contains(#/\binit[?(<]/#) ? "init" : nil
  }

  /// Formats know no kernel, transports know no format; what is to slot in later relies on it.
  @Test(arguments: [
    (
      ["BlockCore", "OverlayBD", "DiskFormats", "Images"], ["LinuxIO", "CLinux", "CFuse", "Glibc", "Engine"]
    ),
    (["TransportFUSE", "TransportTCMU"], ["OverlayBD", "DiskFormats", "Images", "Attachments", "Engine"]),
    (["LinuxIO"], ["OverlayBD", "DiskFormats", "Images", "TransportFUSE", "Attachments", "Engine"]),
    (["Attachments"], ["OverlayBD", "DiskFormats", "Images", "TransportFUSE", "Engine", "DataServer"]),
    (["Engine"], ["OverlayBD", "DiskFormats", "TransportFUSE", "DataServer", "Hummingbird"]),
    (["ControlAPI", "ashlar"], ["OverlayBD", "DiskFormats", "TransportFUSE", "GRDB"]),
  ])
  func roomsImportWhatTheyMay(rooms: [String], forbidden: [String]) throws {
    for file in try SourceTree.files([".swift"], in: rooms.map { "Sources/\($0)" }) {
      for line in file.lines {
        guard let match = line.firstMatch(of: #/^(?:@\S+ |public )*import (?:struct |func )?([A-Za-z]+)/#)
        else { continue }
        #expect(!forbidden.contains(String(match.1)), "\(file) imports \(match.1)")
      }
    }
  }

  @Test func linksInTheDocumentsLead() throws {
    let pages = try SourceTree.files([".md"], in: ["docs"]) + [SourceTree.file("README.md")]
    #expect(pages.count > 10)
    for page in pages {
      let folder = page.path.split(separator: "/").dropLast().joined(separator: "/")
      for match in page.lines.joined(separator: "\n").matches(of: #/\]\(([^)#: ]+)(#[^)]*)?\)/#) {
        let target = URL(filePath: "\(SourceTree.root)/\(folder)/\(match.1)").standardized.path
        #expect(FileManager.default.fileExists(atPath: target), "\(page): \(match.1)")
      }
    }
  }

  /// The page of the hot path names its files, and they are there.
  @Test func theHotPathsFilesAreThere() throws {
    let page = try SourceTree.file("docs/hot-path.md").lines.joined(separator: "\n")
    let names = page.matches(of: #/`([A-Za-z+/]+\.(?:swift|c))`/#).map { String($0.1) }
    #expect(names.count > 8)
    let files = try SourceTree.files([".swift", ".c"], in: folders).map(\.path)
    for name in names { #expect(files.contains { $0.hasSuffix(name) }, "\(name)") }
  }

  /// What the machine that it was written on is like is nobody's business.
  @Test func noPathOfAMachineStandsInAFile() throws {
    let endings = [
      ".swift", ".c", ".h", ".md", ".json", ".tsv", "Makefile", "run", "deps", "test", "bench", ".py",
    ]
    for file in try SourceTree.files(endings, in: folders + ["docs", "scripts", ".ci"]) {
      for (number, line) in file.lines.enumerated() {
        #expect(!line.contains(#//work/|/opt/swift|/root/\./#), "\(file):\(number + 1)")
      }
    }
  }
}
