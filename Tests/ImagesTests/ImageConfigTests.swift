import BlockCore
import BlockSim
import Images
import TestKit
import Testing

@Suite struct ImageConfigTests {
  private func parse(_ text: String) throws -> ImageConfig {
    try ImageConfig(json: Array(text.utf8), path: "/x/config.v1.json")
  }

  @Test func readsEveryKey() throws {
    let config = try parse(
      """
      {"repoBlobUrl": "https://host/v2/repo/blobs",
       "lowers": [{"file": "a", "dir": "d", "digest": "sha256:1", "size": 18446744073709551615,
                   "targetFile": "t", "targetDigest": "x", "gzipIndex": "g"}, {}],
       "upper": {"index": "i", "data": "d", "target": "t", "gzipIndex": "g", "vsize": -1},
       "resultFile": "r", "accelerationLayer": true, "recordTracePath": "p",
       "download": {"enable": true, "delay": 1, "delayExtra": 2, "maxMBps": 3, "tryCnt": 4, "blockSize": 5}}
      """)
    #expect(config.repoBlobUrl == "https://host/v2/repo/blobs")
    #expect(config.lowers.count == 2)
    #expect(config.lowers[0].size == .max)
    #expect(config.lowers[0].targetFile == "t" && config.lowers[0].gzipIndex == "g")
    #expect(config.lowers[0].candidates == ["a", "d/overlaybd.commit", "d/.commit", "d/overlaybd.sealed"])
    // Upstream looks for /overlaybd.commit here.
    #expect(config.lowers[1].candidates == [])
    #expect(config.upper.isPresent && config.upper.target == "t")
    #expect(config.resultFile == "r" && config.accelerationLayer && config.recordTracePath == "p")
  }

  @Test func ignoresUnknownKeysAndTakesNullForMissing() throws {
    let config = try parse(#"{"lowers": null, "what": [{"ever": 1}], "resultFile": null}"#)
    #expect(config == (try parse("{}")))
  }

  /// Upstream aborts at the first one, and at the others more or less.
  @Test(arguments: [
    (#"{"lowers": [{"file": 5}]}"#, "lowers[0].file", "a string"),
    (#"{"lowers": [{}, {"size": "big"}]}"#, "lowers[1].size", "a whole number"),
    (#"{"lowers": {"file": "a"}}"#, "lowers", "an array"),
    (#"{"lowers": ["a"]}"#, "lowers[0]", "an object"),
    (#"{"upper": "u"}"#, "upper", "an object"),
    (#"{"upper": {"index": false}}"#, "upper.index", "a string"),
    (#"{"upper": {"vsize": "1"}}"#, "upper.vsize", "a whole number"),
    (#"{"accelerationLayer": 1}"#, "accelerationLayer", "true or false"),
    (#"{"resultFile": ["x"]}"#, "resultFile", "a string"),
    (#"{"download": {"enable": "yes"}}"#, "download.enable", "true or false"),
    (#"{"repoBlobUrl": 3}"#, "repoBlobUrl", "a string"),
  ])
  func rejectsWrongTypesByName(text: String, key: String, type: String) throws {
    let error = #expect(throws: BlockError.self) { try parse(text) }
    #expect(error?.kind == .invalidArgument)
    #expect(error?.cause == "key \(key) must be \(type)")
    #expect(error?.object == "/x/config.v1.json")
  }

  @Test func rejectsNumbersThatDoNotFit() throws {
    for text in [
      #"{"lowers": [{"size": -1}]}"#, #"{"lowers": [{"size": 1.5}]}"#, #"{"lowers": [{"size": 1e30}]}"#,
    ] {
      let error = #expect(throws: BlockError.self) { try parse(text) }
      #expect(error?.cause.contains("lowers[0].size") == true, "\(text): \(error?.cause ?? "")")
    }
  }

  @Test(arguments: ["", "garbage", "{", "[1, 2]", "3", "\"x\"", "{\"lowers\": [}", "\u{0}"])
  func rejectsWhatIsNoObject(text: String) throws {
    let error = #expect(throws: BlockError.self) { try parse(text) }
    #expect(error?.remedy != nil)
  }
}

@Suite struct ImageReferenceTests {
  @Test func readsSchemesAndPaths() throws {
    #expect(try ImageReference("raw:/a/b", relativeTo: "/x").description == "raw:/a/b")
    #expect(try ImageReference("overlaybd:c.json", relativeTo: "/x").path == "/x/c.json")
    #expect(try ImageReference("disk.img", relativeTo: "/x").scheme == nil)
    #expect(try ImageReference("../disk.img", relativeTo: "/x/y").path == "/x/y/../disk.img")
    #expect(try ImageReference("./a:b", relativeTo: "/x").path == "/x/./a:b")
    #expect(try ImageReference("/a:b", relativeTo: "/x").path == "/a:b")
  }

  @Test(arguments: ["qcow2:/x", "nbd+unix:///x", "rbd:a/b"])
  func namesTheSchemesThatAreKnown(text: String) {
    let error = #expect(throws: BlockError.self) { try ImageReference(text, relativeTo: "/") }
    #expect(error?.kind == .unsupported)
    #expect(error?.remedy?.contains("raw:PATH") == true)
  }

  @Test(arguments: ["", "raw:", "overlaybd:"])
  func refusesAnEmptyPath(text: String) {
    #expect(throws: BlockError.self) { try ImageReference(text, relativeTo: "/") }
  }
}
