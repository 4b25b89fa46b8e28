import Attachments
import BlockCore
import Engine
import Handlers
import Images
import LinuxIO

/// The subtypes of backstores that are served: those that are built in, and those of handlers.
struct BackstorePlan: Sendable {
  private let registry: HandlerRegistry
  private let handlers: [String: HandlerRegistry.Entry]
  /// Which of them are served.
  var subtypes: Set<String>

  /// Makes a plan that serves everything.
  init(registry: HandlerRegistry, handlers: [String: HandlerRegistry.Entry]) {
    self.registry = registry
    // What is built in comes before a handler of the same subtype.
    self.handlers = handlers.filter { BackstoreSpec.Subtype(rawValue: $0.key) == nil }
    subtypes = Set(BackstoreSpec.Subtype.allCases.map(\.rawValue)).union(self.handlers.keys)
  }

  /// How the data servers of handlers are started.
  var launches: [String: ServerLaunches.Launch] {
    handlers.mapValues { ServerLaunches.Launch(program: $0.program, arguments: $0.arguments) }
  }

  /// What users are told of the configuration of each subtype.
  var descriptions: [(subtype: String, description: String)] {
    subtypes.sorted().map { name in
      switch BackstoreSpec.Subtype(rawValue: name) {
      case .overlaybd: (name, "overlaybd/PATH[;ID]: the path of an overlaybd image's config.v1.json")
      case .file:
        (name, "file/PATH: the path of a file, which is made if it is not there, or of a block device")
      case .ashlar:
        (
          name,
          "ashlar/IMAGE: an image as ashlar attach takes it: a path, overlaybd:PATH, raw:PATH or raw-bytes:PATH"
        )
      case .null: (name, "null/: reads zeros and forgets what is written")
      case nil: (name, handlers[name]?.description.description ?? "")
      }
    }
  }

  /// Says whether a device can be made of a configuration.
  ///
  /// - Parameter configuration: All of it: `SUBTYPE/…`.
  /// - Throws: Why not.
  func check(_ configuration: String) async throws(BlockError) {
    let spec = BackstoreSpec(hba: 0, name: "", configuration: configuration, role: .served)
    guard configuration.contains("/"), subtypes.contains(spec.subtype) else {
      throw BlockError(
        .unsupported, step: "use the configuration", object: configuration,
        cause: "nobody here serves its subtype",
        remedy: "Served are \(subtypes.sorted().joined(separator: ", ")).")
    }
    switch BackstoreSpec.Subtype(rawValue: spec.subtype) {
    case .overlaybd: try await open(ImageReference(.overlaybd, spec.overlaybdPath, relativeTo: "/"))
    case .ashlar: try await open(try ImageReference(spec.detail, relativeTo: "/"))
    case .file: try await checkFile(spec.detail)
    case .null: return
    case nil: try await checkHandler(spec)
    }
  }

  private func open(_ reference: ImageReference) async throws(BlockError) {
    _ = try await Image.open(
      reference, ImageOptions(isReadOnly: true, writesResultFile: false, takesEncrypted: true), .linux)
  }

  private func checkFile(_ path: String) async throws(BlockError) {
    // As it is served: from the root.
    let path = path.hasPrefix("/") ? path : "/\(path)"
    let files = LinuxFileSystem()
    guard files.exists(path) else {
      _ = try files.resolve(
        path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "/")
      return
    }
    guard LinuxFileSystem.canBeDisk(try files.resolve(path)) else {
      throw BlockError(
        .invalidArgument, step: "use the file", object: path,
        cause: "it is neither a file nor a block device",
        remedy: "Name a file or a block device.")
    }
    try await ImageReference.checkBackstoreFile(try await files.open(path, for: .readOnly))
  }

  private func checkHandler(_ spec: BackstoreSpec) async throws(BlockError) {
    guard let entry = handlers[spec.subtype] else { return }
    let registry = registry
    let verdict = try await Blocking.run("check") { () throws(BlockError) in
      try registry.check(spec.detail, with: entry)
    }
    guard verdict.isValid else {
      throw BlockError(
        .invalidArgument, step: "use the configuration", object: spec.configuration, cause: verdict.message)
    }
  }
}
