import BlockCore
import SystemPackage
import Testing

@Suite struct BlockRequestTests {
  private let disk = VolumeGeometry(byteCount: 1 << 20, isReadOnly: false)

  private func kind(_ request: BlockRequest, on geometry: VolumeGeometry, data: Int) -> BlockError.Kind? {
    do {
      try request.validate(for: geometry, dataCount: data)
      return nil
    } catch {
      return error.kind
    }
  }

  @Test func acceptsWhatIsWholeBlocksInside() {
    #expect(kind(.init(.read, at: 0, byteCount: 1 << 20), on: disk, data: 1 << 20) == nil)
    #expect(kind(.init(.write, at: (1 << 20) - 512, byteCount: 512), on: disk, data: 512) == nil)
    #expect(kind(.init(.discard, at: 512, byteCount: 1024), on: disk, data: 0) == nil)
    #expect(kind(.init(.read, at: 1 << 20, byteCount: 0), on: disk, data: 0) == nil)
    #expect(kind(.flush, on: disk, data: 0) == nil)
  }

  @Test func rejectsWhatLeavesTheDisk() {
    #expect(kind(.init(.read, at: (1 << 20) - 512, byteCount: 1024), on: disk, data: 1024) == .outOfRange)
    #expect(kind(.init(.read, at: (1 << 20) + 512, byteCount: 0), on: disk, data: 0) == .outOfRange)
    // The sum of offset and length wraps.
    let far = UInt64.max - 511
    #expect(kind(.init(.read, at: far, byteCount: 1024), on: disk, data: 1024) == .outOfRange)
    #expect(kind(.init(.discard, at: 512, byteCount: far), on: disk, data: 0) == .outOfRange)
  }

  @Test func rejectsWhatIsMisaligned() {
    #expect(kind(.init(.read, at: 100, byteCount: 512), on: disk, data: 512) == .invalidArgument)
    #expect(kind(.init(.read, at: 0, byteCount: 100), on: disk, data: 100) == .invalidArgument)
    let wide = VolumeGeometry(byteCount: 1 << 20, logicalBlockSize: 4096, isReadOnly: false)
    #expect(kind(.init(.read, at: 512, byteCount: 4096), on: wide, data: 4096) == .invalidArgument)
  }

  @Test func rejectsDataOfAnotherLength() {
    #expect(kind(.init(.read, at: 0, byteCount: 1024), on: disk, data: 512) == .invalidArgument)
    #expect(kind(.init(.discard, at: 0, byteCount: 1024), on: disk, data: 1024) == .invalidArgument)
  }

  @Test func rejectsChangesToWhatIsReadOnly() {
    for operation in BlockRequest.Operation.allCases {
      let request = BlockRequest(operation, at: 0, byteCount: operation == .flush ? 0 : 512)
      let expected: BlockError.Kind? = operation.isWrite ? .readOnly : nil
      #expect(kind(request, on: disk.readOnly, data: request.carriesData ? 512 : 0) == expected)
    }
  }
}

@Suite struct BlockErrorTests {
  @Test func everyKindHasItsCodes() {
    for kind in BlockError.Kind.allCases {
      let codes = kind.codes
      #expect(codes.errno.rawValue > 0, "\(kind)")
      #expect((1...0xE).contains(codes.sense.key), "\(kind)")
      // The values that the NBD protocol knows.
      #expect([1, 5, 12, 22, 28, 75, 95, 108].contains(codes.nbd), "\(kind)")
    }
    #expect(BlockError.Kind.noSpace.codes.errno == .noSpace)
    #expect(BlockError.Kind.checksumMismatch.codes.sense.key == 3)
  }

  @Test func saysStepObjectCauseAndRemedy() {
    let error = BlockError(
      .busy, step: "detach", object: "demo", cause: "it is mounted", remedy: "Unmount it.")
    #expect(error.description == "cannot detach demo: it is mounted. Unmount it.")
    #expect(error.during("shut down").step == "shut down: detach")
  }

  @Test func takesItsKindFromErrno() {
    #expect(BlockError(errno: .noSuchFileOrDirectory, step: "open", object: "x").kind == .notFound)
    #expect(BlockError(errno: .permissionDenied, step: "open", object: "x").remedy?.contains("root") == true)
    #expect(BlockError(errno: .noSpace, step: "write", object: "x").kind == .noSpace)
  }
}
