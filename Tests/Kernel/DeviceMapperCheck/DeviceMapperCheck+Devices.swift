import BlockCore
import DeviceMapper
import Glibc
import LinuxIO
import SystemPackage

extension DeviceMapperCheck {
  func lifeOfADevice() throws {
    let made = try mapper.create("check1", uuid: uuid("1"), linear(2048, start: 8))
    expect(try mapper.info(.uuid(uuid("1"))) == made, "another device is found")
    expect(try mapper.info(.name("check1"))?.numbers == made.numbers, "not found by its name")
    expect(try BlockDevice.numbers(ofNode: made.path) == made.numbers, "the node stands for another one")
    expect(made.hasTable && !made.isSuspended && !made.isReadOnly && made.openCount == 0, "\(made)")
    expect(try mapper.table(of: .name("check1")) == linear(2048, start: 8), "another table")
    expect(try mapper.dependencies(of: .uuid(uuid("1"))) == [disks[0]], "other dependencies")
    expect(try mapper.list().contains { $0.name == "check1" && $0.numbers == made.numbers }, "not listed")
    expect(try BlockDevice.byteCount(ofNode: "/dev/dm-\(made.numbers.minor)") == 2048 * 512, "another size")
    try mapper.remove(.uuid(uuid("1")))
    expect(try mapper.info(.uuid(uuid("1"))) == nil, "it is still there")
    let readOnly = try mapper.create("check1", uuid: uuid("1"), linear(2048), isReadOnly: true)
    expect(readOnly.isReadOnly, "it takes writes")
    try mapper.remove(.uuid(uuid("1")))
  }

  func namesThatAreTaken() async throws {
    let made = try mapper.create("check1", uuid: uuid("1"), linear(8))
    let taken = await failure { () throws(BlockError) in
      _ = try mapper.create("check1", uuid: uuid("2"), linear(8))
    }
    expect(taken.kind == .conflict, "\(taken)")
    let twice = await failure { () throws(BlockError) in
      _ = try mapper.create("check2", uuid: uuid("1"), linear(8))
    }
    expect(twice.kind == .conflict, "\(twice)")
    expect(try mapper.info(.name("check1")) == made, "the device of that name has changed")
    for name in ["", "a/b", String(repeating: "n", count: 128), "."] {
      let bad = await failure { () throws(BlockError) in
        _ = try mapper.create(name, uuid: uuid("3"), linear(8))
      }
      expect(bad.kind == .invalidArgument, "\(bad)")
    }
    let longest = String(repeating: "check", count: 25) + "12"
    expect(try mapper.create(longest, uuid: uuid("3"), linear(8)).name == longest, "its name was cut")
    try mapper.remove(.uuid(uuid("3")))
    try mapper.remove(.uuid(uuid("1")))
  }

  func refusedTables() async throws {
    let beyond = await failure { () throws(BlockError) in
      _ = try mapper.create("check1", uuid: uuid("1"), linear(1 << 30))
    }
    expect(beyond.kind == .invalidArgument && beyond.cause.contains("kernel"), "\(beyond)")
    let unknown = await failure { () throws(BlockError) in
      _ = try mapper.create(
        "check1", uuid: uuid("1"), Table(sectors: 8, .other(type: "no-such-target", parameters: "")))
    }
    expect(unknown.kind == .invalidArgument, "\(unknown)")
    let gap = await failure { () throws(BlockError) in
      _ = try mapper.create(
        "check1", uuid: uuid("1"),
        Table([.init(start: 0, count: 8, .zero), .init(start: 9, count: 8, .zero)]))
    }
    expect(gap.kind == .invalidArgument, "\(gap)")
  }

  func growing() throws {
    let made = try mapper.create("check1", uuid: uuid("1"), linear(2048))
    try mapper.replaceTable(of: .uuid(uuid("1")), with: linear(4096))
    expect(
      try BlockDevice.byteCount(ofNode: "/dev/dm-\(made.numbers.minor)") == 4096 * 512, "it has not grown")
    do {
      try mapper.replaceTable(of: .uuid(uuid("1")), with: linear(1 << 30))
      Self.fail("it has grown beyond its disk")
    } catch {
      expect(try mapper.info(.uuid(uuid("1")))?.isSuspended == false, "it holds back requests")
      expect(try mapper.table(of: .uuid(uuid("1"))) == linear(4096), "the old table is lost")
    }
    try mapper.remove(.uuid(uuid("1")))
  }

  func renaming() async throws {
    let made = try mapper.create("check1", uuid: uuid("1"), linear(8))
    _ = try mapper.create("check2", uuid: uuid("2"), linear(8))
    let taken = await failure { () throws(BlockError) in try mapper.rename("check1", to: "check2") }
    expect(taken.kind == .conflict, "\(taken)")
    try mapper.rename("check1", to: "check3")
    expect(try mapper.info(.uuid(uuid("1")))?.name == "check3", "it has its old name")
    expect(try BlockDevice.numbers(ofNode: "/dev/mapper/check3") == made.numbers, "its node is another one")
    expect(access("/dev/mapper/check1", F_OK) != 0, "the old node is there")
    try mapper.remove(.uuid(uuid("1")))
    try mapper.remove(.uuid(uuid("2")))
  }

  func suspending() async throws {
    let made = try mapper.create("check1", uuid: uuid("1"), linear(2048))
    try mapper.suspend(.uuid(uuid("1")))
    expect(try mapper.info(.uuid(uuid("1")))?.isSuspended == true, "it is not suspended")
    let path = made.path
    let writer = Task.detached { () -> Bool in
      let file = try LinuxFile(path, for: .readWrite)
      let bytes = [UInt8](repeating: 7, count: 4096)
      try await file.write(at: 0, from: bytes.span.bytes, isDurable: true)
      return true
    }
    try await Task.sleep(for: .milliseconds(300))
    expect(try read(paths[0], 4096).allSatisfy { $0 == 0 }, "the write went through")
    try mapper.resume(.uuid(uuid("1")))
    expect(try await writer.value, "the write failed")
    expect(try read(paths[0], 4096).allSatisfy { $0 == 7 }, "the write is lost")
    try mapper.remove(.uuid(uuid("1")))
  }

  /// The first bytes of a device, past the page cache.
  func read(_ path: String, _ count: Int) throws -> [UInt8] {
    let descriptor = try Descriptor.open(path, O_RDONLY)
    // Throws away what the page cache has.
    guard posix_fadvise(descriptor.raw, 0, 0, POSIX_FADV_DONTNEED) == 0 else {
      Self.fail("cannot drop \(path)")
    }
    var bytes = [UInt8](repeating: 0xFF, count: count)
    guard pread(descriptor.raw, &bytes, count, 0) == count else {
      throw BlockError(errno: Errno(rawValue: errno), step: "read", object: path)
    }
    return bytes
  }

  func busyDevice() async throws {
    let made = try mapper.create("check1", uuid: uuid("1"), linear(8))
    let clock = LinuxClock()
    do {
      let holder = try Descriptor.open(made.path, O_RDONLY)
      let began = clock.now
      let busy = await failure { () async throws(BlockError) in
        try await mapper.remove(.uuid(uuid("1")), within: .milliseconds(200), clock: clock)
      }
      expect(clock.now - began >= .milliseconds(200), "it has not waited")
      expect(busy.kind == .busy && busy.cause.contains("pid \(getpid())"), "\(busy)")
      try holder.close(step: "close", object: made.path)
    }
    // One that is closed while somebody waits for it goes.
    let holder = try Descriptor.open(made.path, O_RDONLY).release()
    Task.detached {
      try await clock.sleep(for: .milliseconds(100))
      close(holder)
    }
    try await mapper.remove(.uuid(uuid("1")), within: .seconds(10), clock: clock)
    try await mapper.remove(.uuid(uuid("1")), within: .zero, clock: clock)
  }

  func deferredRemoval() throws {
    let made = try mapper.create("check1", uuid: uuid("1"), linear(8))
    let holder = try Descriptor.open(made.path, O_RDONLY)
    expect(try !mapper.remove(.uuid(uuid("1")), deferred: true), "it is gone while it is open")
    expect(try mapper.info(.uuid(uuid("1")))?.isRemovedWhenClosed == true, "it will not go")
    try holder.close(step: "close", object: made.path)
    for _ in 0..<100 where try mapper.info(.uuid(uuid("1"))) != nil { usleep(10_000) }
    expect(try mapper.info(.uuid(uuid("1"))) == nil, "it has not gone")
    try mapper.tidy("check1")
  }

  func cancelledRemoval() async throws {
    let made = try mapper.create("check1", uuid: uuid("1"), linear(8))
    let holder = try Descriptor.open(made.path, O_RDONLY)
    let mapper = self.mapper
    let reference = DeviceReference.uuid(uuid("1"))
    let removal = Task.detached { () -> BlockError? in
      do throws(BlockError) {
        try await mapper.remove(reference, within: .seconds(60), clock: LinuxClock())
        return nil
      } catch {
        return error
      }
    }
    try await Task.sleep(for: .milliseconds(50))
    removal.cancel()
    let error = await removal.value
    expect(error?.kind == .cancelled, "\(error.map { "\($0)" } ?? "no error")")
    expect(try mapper.info(reference) != nil, "it is gone")
    try holder.close(step: "close", object: made.path)
    try mapper.remove(reference)
  }

  func manyDevices() async throws {
    let clock = LinuxClock()
    try await withThrowingTaskGroup(of: Void.self) { group in
      for number in 0..<200 {
        let name = "check-many-\(number)"
        let uuid = self.uuid(name)
        let table = Table(sectors: 8, .linear(disks[0], start: UInt64(number) * 8))
        group.addTask {
          let made = try mapper.create(name, uuid: uuid, table)
          guard try mapper.table(of: .uuid(uuid)) == table, made.name == name else {
            Self.fail("\(name) is another device")
          }
          try await mapper.remove(.uuid(uuid), within: .seconds(10), clock: clock)
        }
      }
      try await group.waitForAll()
    }
  }
}
