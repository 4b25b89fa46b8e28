import BlockCore
import LinuxIO
import TransportFUSE
import Images
import Glibc

func go() async throws {
  let args = CommandLine.arguments
  let image = try await Image.open(try ImageReference(args[1], relativeTo: "/tmp"), ImageOptions(isReadOnly: args[3] == "ro", writesResultFile: false), .linux)
  let started = try FUSEExport.start(image.volume, name: "test-1", queueCount: Int(args[2])!, executor: BlockingExecutor(label: "slow")) { print($0) }
  let export = started.export
  let file = started.file
  let loop = try LoopDevice.attach(file, .init(isReadOnly: args[3] == "ro", blockSize: 512, label: "ashlar:test"))
  try file.close(step: "close", object: "x")
  print(loop.path, "dio", loop.hasDirectIO)
  fflush(nil)
  withExtendedLifetime(loop) { _ = pause() }
  print(export.counters)
}
try await go()
