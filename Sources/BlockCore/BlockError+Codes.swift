import SystemPackage

extension BlockError {
  /// The stable class of a failure.
  ///
  /// Raw values are part of the JSON interfaces.
  public enum Kind: String, Sendable, CaseIterable, Codable {
    /// A parameter that can never be right: an ID with a slash, a misaligned request.
    case invalidArgument
    /// A range that does not lie inside the volume or file.
    case outOfRange
    /// A change to something that is read-only.
    case readOnly
    /// A file, device or ID that does not exist.
    case notFound
    /// The caller may not do this.
    case permissionDenied
    /// Something else has that name already.
    case conflict
    /// Somebody holds the object.
    case busy
    /// Bytes that contradict their format.
    case corrupt
    /// Bytes that contradict their checksum.
    case checksumMismatch
    /// Valid, but beyond what this engine or this host can do.
    case unsupported
    /// The storage below failed.
    case ioError
    /// No space left below.
    case noSpace
    /// A deadline passed.
    case timedOut
    /// The caller withdrew.
    case cancelled
    /// A limit of the host or of the engine was met: memory, descriptors, loop devices, segments.
    case exhausted
    /// A kernel interface or service that is needed is not there.
    case unavailable
    /// The other process went away.
    case disconnected
  }

  /// SCSI sense data in fixed terms: sense key, additional sense code and its qualifier (SPC-4, 4.5).
  public struct Sense: Sendable, Hashable {
    /// The sense key, 4 bits.
    public let key: UInt8
    /// The additional sense code.
    public let code: UInt8
    /// The additional sense code qualifier.
    public let qualifier: UInt8

    init(_ key: UInt8, _ code: UInt8, _ qualifier: UInt8) {
      self.key = key
      self.code = code
      self.qualifier = qualifier
    }
  }

  /// How one kind of failure looks to each kernel interface.
  public struct Codes: Sendable, Hashable {
    /// For FUSE, ublk and system calls.
    public let errno: Errno
    /// For TCMU and vhost-user-scsi.
    public let sense: Sense
    /// The same, where a change of the medium failed: another additional sense code says that it was no read.
    public let writeSense: Sense
    /// For NBD: the error values of the NBD protocol, section "Error values".
    public let nbd: UInt32
  }
}

extension BlockError {
  /// What helps against a failure of a system call whose kind has another usual remedy, or none.
  static func usualRemedy(for errno: Errno) -> String? {
    switch errno {
    case .fileTooLarge:
      "No file of that file system can be so large: choose a place on another one, such as XFS."
    case .tooManySymbolicLinkLevels: "A symbolic link on the way leads back to itself: correct it."
    case .diskQuotaExceeded: "The quota is used up: remove something, or have it raised."
    default: nil
    }
  }
}

extension BlockError.Kind {
  /// The one table from failures to the codes of the kernel interfaces.
  public var codes: BlockError.Codes {
    func codes(
      _ errno: Errno, _ sense: (UInt8, UInt8, UInt8), writing: (UInt8, UInt8, UInt8)? = nil, nbd: Errno
    ) -> BlockError.Codes {
      let writing = writing ?? sense
      return .init(
        errno: errno, sense: .init(sense.0, sense.1, sense.2),
        writeSense: .init(writing.0, writing.1, writing.2), nbd: UInt32(nbd.rawValue))
    }
    return switch self {
    case .invalidArgument: codes(.invalidArgument, (0x5, 0x24, 0x00), nbd: .invalidArgument)
    case .outOfRange: codes(.invalidArgument, (0x5, 0x21, 0x00), nbd: .invalidArgument)
    case .readOnly: codes(.readOnlyFileSystem, (0x7, 0x27, 0x00), nbd: .notPermitted)
    case .notFound: codes(.noSuchFileOrDirectory, (0x2, 0x04, 0x03), nbd: .ioError)
    case .permissionDenied: codes(.permissionDenied, (0x7, 0x27, 0x00), nbd: .notPermitted)
    case .conflict: codes(.fileExists, (0x5, 0x24, 0x00), nbd: .invalidArgument)
    case .busy: codes(.resourceBusy, (0x2, 0x04, 0x01), nbd: .ioError)
    case .corrupt: codes(.ioError, (0x3, 0x11, 0x00), writing: (0x3, 0x0C, 0x00), nbd: .ioError)
    case .checksumMismatch: codes(.ioError, (0x3, 0x11, 0x01), writing: (0x3, 0x0C, 0x00), nbd: .ioError)
    case .unsupported: codes(.notSupportedOnSocket, (0x5, 0x20, 0x00), nbd: .notSupported)
    case .ioError: codes(.ioError, (0x3, 0x11, 0x00), writing: (0x3, 0x0C, 0x00), nbd: .ioError)
    case .noSpace: codes(.noSpace, (0x7, 0x27, 0x07), nbd: .noSpace)
    case .timedOut: codes(.timedOut, (0xB, 0x08, 0x01), nbd: .ioError)
    case .cancelled: codes(.interrupted, (0xB, 0x00, 0x06), nbd: .ioError)
    case .exhausted: codes(.noMemory, (0xB, 0x55, 0x03), nbd: .noMemory)
    case .unavailable: codes(.operationNotSupportedByDevice, (0x2, 0x04, 0x00), nbd: .ioError)
    case .disconnected: codes(.ioError, (0x2, 0x08, 0x00), nbd: .socketShutdown)
    }
  }

  /// The kind that a system call's error number stands for.
  public init(errno: Errno) {
    self =
      switch errno {
      case .invalidArgument, .fileNameTooLong, .badAddress: .invalidArgument
      case .noSuchFileOrDirectory: .notFound
      case .notDirectory, .isDirectory, .tooManySymbolicLinkLevels: .invalidArgument
      case .permissionDenied, .notPermitted: .permissionDenied
      case .readOnlyFileSystem: .readOnly
      case .fileExists: .conflict
      case .resourceBusy, .textFileBusy: .busy
      case .noSpace, .diskQuotaExceeded, .fileTooLarge: .noSpace
      case .timedOut: .timedOut
      case .canceled, .interrupted: .cancelled
      case .noMemory, .tooManyOpenFiles, .tooManyOpenFilesInSystem: .exhausted
      case .notSupportedOnSocket, .noFunction, .notSupported: .unsupported
      case .operationNotSupportedByDevice, .noSuchAddressOrDevice: .unavailable
      case .brokenPipe, .connectionReset, .connectionRefused, .socketNotConnected: .disconnected
      default: .ioError
      }
  }

  /// What usually helps against this kind of failure of a system call.
  var usualRemedy: String? {
    switch self {
    case .permissionDenied:
      "Run it as root, or give this user access to it. If root is refused: see whether it is immutable (lsattr), or kept "
        + "from this container."
    case .notFound: "Check the path."
    case .noSpace: "Free some space there and try again."
    case .exhausted: "Raise the limit (ulimit -n, memory) or close something."
    case .readOnly:
      "Mount the file system read-write, or use another place; an image that is only read: attach it with --read-only."
    default: nil
    }
  }
}
