import Attachments
import Testing

/// What a backstore's configuration says.
@Suite struct BackstoreSpecTests {
  @Test(arguments: [
    ("overlaybd//a/b.json;7", "overlaybd", "/a/b.json;7", "/a/b.json"),
    // A slash, or a semicolon, and an accent behind it are one character.
    ("file/\u{301}a", "file", "\u{301}a", "\u{301}a"), ("overlaybd/a;\u{301}", "overlaybd", "a;\u{301}", "a"),
    ("null/", "null", "", ""), ("null", "null", "", ""), ("", "", "", ""), ("/x", "", "x", "x"),
  ])
  func configurationsAreCutByByte(text: String, subtype: String, detail: String, path: String) {
    let spec = BackstoreSpec(hba: 0, name: "x", configuration: text, role: .served)
    #expect(Array(spec.subtype.utf8) == Array(subtype.utf8))
    #expect(Array(spec.detail.utf8) == Array(detail.utf8))
    #expect(Array(spec.overlaybdPath.utf8) == Array(path.utf8))
  }
}
