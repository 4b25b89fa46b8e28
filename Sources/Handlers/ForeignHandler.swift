import BlockCore
import CAshlarHandler
import Glibc
import Synchronization
import SystemPackage

/// The functions of a handler in a shared object: a copy of its `struct ashlar_handler`.
///
/// Proof for `@unchecked Sendable`: the structure is not changed after it was copied. The functions and the context in
/// it live as long as the process, since its library is never closed, and the interface lets them be called from any
/// thread within the limits that ``CallGate`` holds.
struct ForeignFunctions: @unchecked Sendable {
  let table: ashlar_handler
}

/// A handler in a shared object, spoken to by the interface of `ashlar_handler.h`.
///
/// It stays loaded until the process ends.
public final class ForeignHandler: Handler {
  /// How it was built.
  public let kind: HandlerDescription.Kind
  public let subtype: String
  public let summary: String
  let path: String
  let functions: ForeignFunctions

  /// Bytes of a reason that a handler may give.
  private static let reasonCapacity = 1024

  /// Takes over what a library has returned, if this engine can work with it.
  ///
  /// - Throws: `unsupported` for another version; `corrupt` for a structure that breaks the interface's rules.
  init(_ handler: UnsafePointer<ashlar_handler>, kind: HandlerDescription.Kind, path: String)
    throws(BlockError)
  {
    let table = try Self.copy(handler, path)
    guard let subtype = table.subtype.map({ String(cString: $0) }) else {
      throw Self.broken(path, "it has no subtype")
    }
    try HandlerName.check(subtype, of: "the handler \(path)")
    guard table.open != nil, table.close != nil else {
      throw Self.broken(path, "it has no open or no close function")
    }
    guard table.read != nil || table.command != nil else {
      throw Self.broken(path, "it can neither read nor serve commands")
    }
    self.subtype = subtype
    summary = table.description.map { String(cString: $0) } ?? ""
    self.kind = kind
    self.path = path
    functions = ForeignFunctions(table: table)
  }

  /// Copies the fields that the handler knows; those behind its end are empty.
  private static func copy(
    _ handler: UnsafePointer<ashlar_handler>, _ path: String
  ) throws(BlockError) -> ashlar_handler {
    let version = handler.pointer(to: \.version)?.pointee ?? 0
    guard version == ASHLAR_HANDLER_VERSION else {
      throw BlockError(
        .unsupported, step: "load the handler", object: path,
        cause: "it was built for version \(version) of the interface, and this is \(ASHLAR_HANDLER_VERSION)",
        remedy: "Build it again with this release's ashlar_handler.h.")
    }
    let size = Int(handler.pointer(to: \.size)?.pointee ?? 0)
    // All fields of today are those of version 1; one with more has fields that we do not know and do not need.
    guard size >= MemoryLayout<ashlar_handler>.size else {
      throw broken(
        path, "its structure has \(size) bytes, and version 1 has \(MemoryLayout<ashlar_handler>.size)")
    }
    return handler.pointee
  }

  private static func broken(_ path: String, _ cause: String) -> BlockError {
    BlockError(
      .corrupt, step: "load the handler", object: path, cause: cause,
      remedy: "See docs/handlers.md for what a handler has to provide.")
  }

  public func check(_ configuration: String) async throws(BlockError) {
    guard let check = functions.table.check_config else { return }
    let (result, reason) = Self.withReason { reason, capacity in
      check(functions.table.context, configuration, reason, capacity)
    }
    guard result == 0 else {
      throw Self.error(
        result, step: "use the configuration", object: "\(subtype)/\(configuration)", reason: reason,
        otherwise: .invalidArgument)
    }
  }

  public func open(_ opening: HandlerOpening) async throws(BlockError) -> OpenedVolume {
    let size = ForeignVolume.Size()
    let device = ForeignDevice(opening) { byteCount in
      size.set(byteCount)
      opening.onResize(byteCount)
    }
    ForeignHost.shared.current.withLock { $0 = device }
    var geometry = ashlar_geometry()
    geometry.size = UInt32(MemoryLayout<ashlar_geometry>.size)
    geometry.byte_count = opening.byteCount ?? 0
    geometry.block_size = UInt32(opening.blockSize)
    var state: UnsafeMutableRawPointer?
    let reference = Unmanaged.passRetained(device)
    let (result, reason) = Self.withReason { reason, capacity in
      opening.configuration.withCString { text in
        var given = ashlar_opening(
          size: UInt32(MemoryLayout<ashlar_opening>.size),
          flags: UInt32(
            (opening.isReopen ? ASHLAR_REOPEN : 0) | (opening.isReadOnly ? ASHLAR_OPEN_READ_ONLY : 0)),
          configuration: text, byte_count: opening.byteCount ?? 0, block_size: UInt32(opening.blockSize),
          maximum_transfer: opening.maximumTransferBlocks, device: OpaquePointer(reference.toOpaque()),
          reason: reason, reason_capacity: capacity)
        return functions.table.open(functions.table.context, &given, &geometry, &state)
      }
    }
    guard result == 0 else {
      reference.release()
      throw Self.error(
        result, step: "open the disk", object: "\(subtype)/\(opening.configuration)", reason: reason,
        otherwise: .ioError)
    }
    let volume: ForeignVolume
    do throws(BlockError) {
      volume = try ForeignVolume(self, state, geometry, opening, size)
    } catch {
      functions.table.close(state)
      reference.release()
      throw error
    }
    return volume.opened { reference.release() }
  }

  /// Runs a body with a buffer for the reason of a failure.
  private static func withReason(
    _ body: (UnsafeMutablePointer<CChar>, Int) -> Int32
  ) -> (Int32, String) {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: reasonCapacity) { buffer in
      guard let start = buffer.baseAddress else { return (-ENOMEM, "") }
      buffer.initialize(repeating: 0)
      let result = body(start, buffer.count)
      // A handler that has filled it all has left no room for the end.
      buffer[buffer.count - 1] = 0
      return (result, String(cString: start))
    }
  }

  /// The error of a function that returned something else than 0.
  static func error(
    _ result: Int32, step: String, object: String, reason: String = "", otherwise: BlockError.Kind
  ) -> BlockError {
    guard result < 0, result > -4096 else {
      return BlockError(
        otherwise, step: step, object: object,
        cause: reason.isEmpty ? "the handler returned \(result), which has no meaning here" : reason)
    }
    let errno = Errno(rawValue: -result)
    // The one error number that says this of a range, but not of system calls.
    let kind: BlockError.Kind = -result == ERANGE ? .outOfRange : BlockError.Kind(errno: errno)
    return BlockError(
      kind, step: step, object: object, cause: reason.isEmpty ? errno.description : reason, errno: errno)
  }
}
