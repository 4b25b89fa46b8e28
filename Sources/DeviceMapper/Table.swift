import BlockCore
import CDevMapper

/// What a device is made of: targets, one behind the other, without gaps.
public struct Table: Sendable, Hashable, CustomStringConvertible {
  /// One target and its place on the device.
  public struct Line: Sendable, Hashable, CustomStringConvertible {
    /// Where it begins, in sectors of 512 bytes.
    public var start: UInt64
    /// How long it is, in sectors.
    public var count: UInt64
    /// What does the work there.
    public var target: Target

    /// Makes a line; the parameters are those of the properties.
    public init(start: UInt64, count: UInt64, _ target: Target) {
      self.start = start
      self.count = count
      self.target = target
    }

    public var description: String {
      let parameters = target.parameters
      return "\(start) \(count) \(target.type)\(parameters.isEmpty ? "" : " \(parameters)")"
    }
  }

  /// The lines in order.
  public var lines: [Line]

  /// Makes a table of lines, which are checked when it is loaded.
  public init(_ lines: [Line]) {
    self.lines = lines
  }

  /// Makes a table of one target.
  public init(sectors: UInt64, _ target: Target) {
    lines = [Line(start: 0, count: sectors, target)]
  }

  /// Reads a table as `dmsetup table` prints it: one line for each target.
  ///
  /// - Throws: `invalidArgument` with the text at fault, `exhausted` for more lines than we take.
  public init(_ text: String) throws(BlockError) {
    lines = []
    for line in text.split(whereSeparator: \.isNewline) {
      guard lines.count < Limits.deviceMapperTargets else {
        throw BlockError(
          .exhausted, step: "read the table", object: "\(text.prefix(40))…",
          cause: "it has more than \(Limits.deviceMapperTargets) lines")
      }
      let fields = line.split(separator: " ", maxSplits: 3, omittingEmptySubsequences: true)
      guard fields.count >= 3, let start = UInt64(fields[0]), let count = UInt64(fields[1]) else {
        throw BlockError(
          .invalidArgument, step: "read the table line", object: "\"\(line.prefix(80))\"",
          cause: "it does not begin with two numbers of sectors and a target")
      }
      let parameters = fields.count > 3 ? String(fields[3]) : ""
      lines.append(
        Line(start: start, count: count, try Target(type: String(fields[2]), parameters: parameters)))
    }
  }

  public var description: String { lines.map(\.description).joined(separator: "\n") }

  /// The size of the device in sectors; of a table that cannot be loaded, the largest number there is.
  public var sectorCount: UInt64 {
    guard let last = lines.last else { return 0 }
    let (end, isTooLarge) = last.start.addingReportingOverflow(last.count)
    return isTooLarge ? .max : end
  }

  /// The bytes for the kernel: `struct dm_target_spec` and parameters, line by line.
  ///
  /// - Throws: `invalidArgument` for an empty table, a gap, an empty line or a size beyond the limit.
  func encoded() throws(BlockError) -> [UInt8] {
    func reject(_ cause: String) -> BlockError {
      BlockError(.invalidArgument, step: "load", object: "a table", cause: cause)
    }
    guard (1...Limits.deviceMapperTargets).contains(lines.count) else {
      throw reject("it has \(lines.count) lines, and 1 to \(Limits.deviceMapperTargets) are allowed")
    }
    var bytes: [UInt8] = []
    var end: UInt64 = 0
    for line in lines {
      guard line.start == end else { throw reject("its line \"\(line)\" does not begin at sector \(end)") }
      let most = Limits.volumeBytes / VolumeGeometry.sectorSize
      guard line.count > 0, line.count <= most - end else {
        throw reject("its line \"\(line)\" is empty or ends behind sector \(most)")
      }
      end += line.count
      let parameters = Array(line.target.parameters.utf8)
      guard line.target.type.utf8.count < Int(DM_MAX_TYPE_NAME), !parameters.contains(0) else {
        throw reject("the target or parameters of \"\(line)\" cannot be right")
      }
      var header = dm_target_spec()
      let size = MemoryLayout<dm_target_spec>.size
      // Records begin at multiples of 8; the parameters end with a NUL.
      let byteCount = (size + parameters.count + 1 + 7) / 8 * 8
      header.sector_start = line.start
      header.length = line.count
      header.next = UInt32(byteCount)
      withUnsafeMutableBytes(of: &header.target_type) { $0.copyBytes(from: line.target.type.utf8) }
      withUnsafeBytes(of: header) { bytes += $0 }
      bytes += parameters
      bytes += [UInt8](repeating: 0, count: byteCount - size - parameters.count)
    }
    return bytes
  }
}

/// A line of a table or of a status as the kernel answers it, not yet understood.
struct RawTargetLine {
  var start: UInt64
  var count: UInt64
  var type: String
  var text: String

  /// Reads the answer to a question for table or status.
  ///
  /// - Throws: `ioError` if the lengths in it contradict each other.
  static func read(_ payload: [UInt8], count: Int) throws(BlockError) -> [RawTargetLine] {
    let size = MemoryLayout<dm_target_spec>.size
    let bytes = payload.span.bytes
    var lines: [RawTargetLine] = []
    var offset = 0
    guard count <= Limits.deviceMapperTargets else { throw Reply.malformed("a table") }
    for number in 0..<count {
      guard offset <= payload.count - size else { throw Reply.malformed("a table") }
      // Here it counts from the beginning of the first record.
      let next = Int(bytes.littleEndian(offset + 20, as: UInt32.self))
      let isLast = number == count - 1
      let end = isLast ? payload.count : next
      guard end >= offset + size, end <= payload.count else { throw Reply.malformed("a table") }
      lines.append(
        RawTargetLine(
          start: bytes.littleEndian(offset, as: UInt64.self),
          count: bytes.littleEndian(offset + 8, as: UInt64.self),
          type: bytes.text(offset + 24..<offset + size), text: bytes.text(offset + size..<end)))
      offset = end
    }
    return lines
  }
}
