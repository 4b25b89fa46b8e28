import BlockCore
import CAllocationCount
import Foundation
import LinuxIO
import OverlayBD
import TestKit
import Testing

extension SerialDeviceTests {
  /// The request path takes no memory once its workspace has grown to what the requests need.
  @Suite(.enabled(if: BuildMode.isOptimized, "an unoptimized build allocates by itself: use -c release"))
  struct AllocationTests {
    private static let size = 4 << 20

    /// A stack of three layers on files, compressed or not.
    private func stack(_ scratch: Scratch, _ compression: LayerFabric.Compression?) async throws -> LayerStack
    {
      let workspace = Workspace()
      var layers: [Layer] = []
      for number in 0..<3 {
        let extents = stride(from: number * 64, to: Self.size / 512, by: 200).map { sector in
          LayerFabric.Extent(
            sector: UInt64(sector),
            content: OpsScript.content("text", UInt64(sector), min(100, Self.size / 512 - sector) * 512))
        }
        var bytes = LayerFabric.committedLayer(extents, virtualSize: UInt64(Self.size))
        if let compression { bytes = LayerFabric.zfile(bytes, compression) }
        let file = try LinuxFile(try scratch.write("layer\(number)", bytes), for: .readOnly)
        layers.append(
          try await Layer.openSealed(
            try await ZFile.openIfPresent(file, using: workspace) ?? file, using: workspace))
      }
      return try LayerStack(layers, name: "stack")
    }

    /// How many allocations there are while a body reads everywhere, in sizes from 512 bytes to 256 KiB.
    private func allocations(_ volume: any Volume) throws -> UInt64 {
      let workspace = Workspace()
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 4096)
      defer { buffer.deallocate() }
      func pass() throws(BlockError) -> Int {
        var requests = 0
        for count in [512, 4096, 24576, 256 << 10] {
          for offset in stride(from: 0, to: Self.size - count, by: 13 * 4096 + 512) {
            var span = buffer.mutableBytes
            var part = span._mutatingExtracting(0..<count)
            let request = BlockRequest(.read, at: UInt64(offset), byteCount: UInt64(count))
            guard try volume.performNow(request, data: &part, using: workspace) == .done else {
              throw BlockError(.ioError, step: "test", object: "the disk", cause: "a request had to wait")
            }
            requests += 1
          }
        }
        return requests
      }
      _ = try pass()
      callocation_start(nil)
      let requests = try pass()
      let count = callocation_stop()
      #expect(requests > 200)
      return count
    }

    @Test func theCounterCounts() {
      callocation_start(nil)
      let array = [UInt8](repeating: 1, count: Int.random(in: 1000...1001))
      let count = callocation_stop()
      #expect(count >= 1 && array[3] == 1)
    }

    @Test func readingARawFileAllocatesNothing() async throws {
      let scratch = try Scratch()
      let path = try scratch.write("raw", OpsScript.content("rand", 1, Self.size))
      #expect(try allocations(try await TestDisk.raw(path, isReadOnly: true)) == 0)
    }

    @Test(arguments: [nil, LayerFabric.Compression(.lz4), .init(.zstd), .init(.lz4, blockSize: 65536)])
    func readingAStackAllocatesNothing(compression: LayerFabric.Compression?) async throws {
      let scratch = try Scratch()
      #expect(try allocations(try await stack(scratch, compression)) == 0)
    }

    /// The whole way: from /dev/fuse to the reply, on the queues' own threads.
    @Test func servingADeviceAllocatesNothing() async throws {
      let scratch = try Scratch()
      let device = try TestDevice(try await stack(scratch, .init(.lz4)))
      let file = try Descriptor.open(device.path, TestDevice.direct | O_RDONLY)
      func read() -> Int {
        var requests = 0
        let buffer = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)
        defer { buffer.deallocate() }
        for offset in stride(from: 0, to: Self.size, by: 4096) {
          if pread(file.raw, buffer, 4096, off_t(offset)) == 4096 { requests += 1 }
        }
        return requests
      }
      // The kernel chooses who serves a request: a queue may come to its first one, which its workspace grows
      // with, only now.
      var least = UInt64.max
      for _ in 0..<8 where least > 1 {
        let before = device.counters
        callocation_start("fuse-")
        let requests = read()
        least = min(least, callocation_stop())
        #expect(requests == Self.size / 4096)
        #expect(device.counters.reads - before.reads >= UInt64(requests))
        #expect(device.counters.waited == before.waited)
      }
      // The reader allocates its own buffer.
      #expect(least <= 1)
    }
  }
}

/// How the tests were built.
enum BuildMode {
  static var isOptimized: Bool {
    #if DEBUG
      false
    #else
      true
    #endif
  }
}
