import BlockCore
import CDevMapper
import DeviceMapper
import Glibc
import TestKit
import Testing

/// Status lines: what the kernel prints is understood, as libdevmapper understands it.
@Suite struct StatusTests {
  @Test func aSnapshotSaysHowFullItIs() throws {
    let status = try TargetStatus(type: "snapshot", text: "32912/32912 144")
    #expect(status == .snapshot(.active(used: Usage(used: 32912, total: 32912), metadata: 144)))
    for (text, expected) in [
      ("Invalid", TargetStatus.Snapshot.invalid), ("Overflow", .overflow), ("Merge failed", .mergeFailed),
      ("Unknown", .unknown),
    ] {
      #expect(try TargetStatus(type: "snapshot-merge", text: text) == .snapshot(expected))
    }
  }

  @Test func aPoolSaysWhatItCan() throws {
    let text = "1 13/4096 5/1024 - out_of_data_space discard_passdown error_if_no_space - 1024"
    guard case .thinPool(.active(let numbers)) = try TargetStatus(type: "thin-pool", text: text) else {
      Issue.record("not a working pool")
      return
    }
    #expect(numbers.transaction == 1 && numbers.metadata == Usage(used: 13, total: 4096))
    #expect(numbers.data.percent == 0 && numbers.mode == .outOfDataSpace)
    #expect(numbers.failsWithoutSpace && !numbers.needsCheck)
    #expect(try TargetStatus(type: "thin-pool", text: "Fail") == .thinPool(.failed))
    let check = try TargetStatus(
      type: "thin-pool", text: "0 1/2 3/4 7 ro no_discard_passdown queue_if_no_space needs_check 8")
    guard case .thinPool(.active(let numbers)) = check else {
      Issue.record("not a working pool")
      return
    }
    #expect(numbers.mode == .readOnly && numbers.needsCheck && !numbers.failsWithoutSpace)
  }

  @Test func aThinDeviceSaysWhatIsMapped() throws {
    #expect(try TargetStatus(type: "thin", text: "384 511") == .thin(.active(mappedSectors: 384)))
    #expect(try TargetStatus(type: "thin", text: "0 -") == .thin(.active(mappedSectors: 0)))
    #expect(try TargetStatus(type: "thin", text: "Fail") == .thin(.failed))
  }

  @Test(arguments: [
    ("snapshot", ""), ("snapshot", "1/2"), ("snapshot", "1/2 3 4"), ("snapshot", "1 2"),
    ("snapshot", "1/2/3 4"),
    ("snapshot", "-1/2 3"), ("snapshot", "18446744073709551616/1 1"), ("thin-pool", ""), ("thin-pool", "x"),
    ("thin-pool", "1 1/2 3/4 -"), ("thin-pool", "1 1/2 3 - rw"), ("thin", ""), ("thin", "x"),
  ])
  func aLineThatCannotBeRightIsRefused(type: String, text: String) {
    let error = #expect(throws: BlockError.self) { try TargetStatus(type: type, text: text) }
    #expect(error?.kind == .invalidArgument)
  }

  /// The library of LVM reads the same numbers out of the same lines.
  @Test(arguments: ["16/262144 16", "0/0 0", "32912/32912 144", "Invalid", "Overflow", "Merge failed"])
  func libdevmapperReadsASnapshotLikewise(text: String) throws {
    let pool = dm_pool_create("test", 1024)
    defer { dm_pool_destroy(pool) }
    var theirs: UnsafeMutablePointer<dm_status_snapshot>?
    #expect(dm_get_status_snapshot(pool, text, &theirs) == 1)
    let found = try #require(theirs?.pointee)
    switch try TargetStatus(type: "snapshot", text: text) {
    case .snapshot(.active(let used, let metadata)):
      #expect(found.used_sectors == used.used && found.total_sectors == used.total)
      #expect(found.metadata_sectors == metadata && found.has_metadata_sectors == 1)
    case .snapshot(.invalid): #expect(found.invalid == 1)
    case .snapshot(.overflow): #expect(found.overflow == 1)
    case .snapshot(.mergeFailed): #expect(found.merge_failed == 1)
    default: Issue.record("\(text) was not understood")
    }
  }

  @Test(arguments: [
    "1 13/4096 5/1024 - rw discard_passdown queue_if_no_space - 1024",
    "7 4096/4096 1024/1024 - out_of_data_space no_discard_passdown error_if_no_space - 1024",
    "0 1/2 3/4 9 ro discard_passdown error_if_no_space needs_check 8",
  ])
  func libdevmapperReadsAPoolLikewise(text: String) throws {
    let pool = dm_pool_create("test", 1024)
    defer { dm_pool_destroy(pool) }
    var theirs: UnsafeMutablePointer<dm_status_thin_pool>?
    #expect(dm_get_status_thin_pool(pool, text, &theirs) == 1)
    let found = try #require(theirs?.pointee)
    guard case .thinPool(.active(let ours)) = try TargetStatus(type: "thin-pool", text: text) else {
      Issue.record("\(text) was not understood")
      return
    }
    #expect(found.transaction_id == ours.transaction)
    #expect(
      found.used_metadata_blocks == ours.metadata.used && found.total_metadata_blocks == ours.metadata.total)
    #expect(found.used_data_blocks == ours.data.used && found.total_data_blocks == ours.data.total)
    #expect((found.read_only == 1) == (ours.mode == .readOnly))
    #expect((found.out_of_data_space == 1) == (ours.mode == .outOfDataSpace))
    #expect((found.error_if_no_space == 1) == ours.failsWithoutSpace)
    #expect((found.needs_check == 1) == ours.needsCheck)
  }
}
