import BlockCore
import CAshlarHandler
import Glibc
import LinuxIO
import SystemPackage

/// Loading handlers from shared objects, which is a matter for a process of their own.
public enum HandlerLibrary {
  /// The function that handlers of our own interface export.
  private static let entry = "ashlar_handler_entry"
  /// The library that stands between tcmu-runner's handlers and us, and its function.
  private static let shim = (file: "libashlar-tcmu-runner.so", function: "ashlar_tcmu_runner_load")

  private typealias Entry = @convention(c) (UnsafePointer<ashlar_host>?) -> UnsafePointer<ashlar_handler>?
  private typealias ShimLoad =
    @convention(c) (
      UnsafePointer<ashlar_host>?, UnsafePointer<CChar>?, UnsafeMutablePointer<CChar>?, Int
    ) -> UnsafePointer<ashlar_handler>?

  /// How a file was built, by its name; `nil` if it is no handler's name.
  public static func kind(ofFile name: String) -> HandlerDescription.Kind? {
    if name.hasPrefix("ashlar_handler_") { return name.hasSuffix(".so") ? .library : .program }
    return name.hasPrefix("handler_") && name.hasSuffix(".so") ? .tcmuRunner : nil
  }

  /// Loads a handler.
  ///
  /// The code in the file runs in this process from here on, and what it breaks is broken here.
  ///
  /// - Parameter path: The file's absolute path.
  /// - Throws: `invalidArgument` for a name that no handler has; `unavailable` if the library cannot be loaded; as
  ///   the handler's structure is wrong, `unsupported` or `corrupt`.
  public static func load(_ path: String) throws(BlockError) -> ForeignHandler {
    let name = FilePath(path).lastComponent?.string ?? path
    switch kind(ofFile: name) {
    case .library: return try loadOwn(path)
    case .tcmuRunner: return try loadTCMURunner(path)
    case .program, nil:
      throw BlockError(
        .invalidArgument, step: "load the handler", object: path,
        cause: "its name is neither ashlar_handler_NAME.so nor handler_NAME.so")
    }
  }

  private static func loadOwn(_ path: String) throws(BlockError) -> ForeignHandler {
    let address = try symbol(entry, of: try open(path, RTLD_NOW | RTLD_LOCAL), path)
    guard let handler = unsafeBitCast(address, to: Entry.self)(ForeignHost.shared.table) else {
      throw BlockError(
        .unsupported, step: "load the handler", object: path, cause: "it says that it cannot work here",
        remedy: "Build it again with this release's ashlar_handler.h.")
    }
    return try ForeignHandler(handler, kind: .library, path: path)
  }

  private static func loadTCMURunner(_ path: String) throws(BlockError) -> ForeignHandler {
    // Its functions must be found by the handler, and before those of others.
    let library = try shimPath()
    let address = try symbol(shim.function, of: try open(library, RTLD_NOW | RTLD_GLOBAL), library)
    let load = unsafeBitCast(address, to: ShimLoad.self)
    let (handler, reason) = withUnsafeTemporaryAllocation(of: CChar.self, capacity: 1024) { buffer in
      buffer.initialize(repeating: 0)
      let handler = load(ForeignHost.shared.table, path, buffer.baseAddress, buffer.count)
      return (handler, buffer.baseAddress.map { String(cString: $0) } ?? "")
    }
    guard let handler else {
      throw BlockError(.unavailable, step: "load the handler", object: path, cause: reason)
    }
    return try ForeignHandler(handler, kind: .tcmuRunner, path: path)
  }

  /// Where the shim is: beside the running program, or in `../lib/ashlar` from there.
  private static func shimPath() throws(BlockError) -> String {
    let program = FilePath(try LinuxFileSystem().resolve("/proc/self/exe")).removingLastComponent()
    let places = [
      program.appending(shim.file), program.removingLastComponent().appending("lib/ashlar/\(shim.file)"),
    ]
    for place in places where access(place.string, R_OK) == 0 { return place.string }
    throw BlockError(
      .unavailable, step: "find", object: shim.file,
      cause:
        "it is neither in \(places[0].removingLastComponent()) nor in \(places[1].removingLastComponent())",
      remedy: "Install it with the programs (make install).")
  }

  private static func open(_ path: String, _ mode: Int32) throws(BlockError) -> UnsafeMutableRawPointer {
    guard let library = dlopen(path, mode) else {
      throw BlockError(
        .unavailable, step: "load the handler", object: path, cause: lastMessage(),
        remedy: "Install the libraries that it needs (ldd shows them).")
    }
    return library
  }

  private static func symbol(
    _ name: String, of library: UnsafeMutableRawPointer, _ path: String
  ) throws(BlockError) -> UnsafeMutableRawPointer {
    guard let address = dlsym(library, name) else {
      throw BlockError(
        .corrupt, step: "load the handler", object: path, cause: "it exports no \(name)",
        remedy: "See docs/handlers.md for what a handler has to provide.")
    }
    return address
  }

  private static func lastMessage() -> String {
    dlerror().map { String(cString: $0) } ?? "the loader does not say why"
  }
}
