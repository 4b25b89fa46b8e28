import Attachments
import BlockCore
import Glibc
import LinuxIO
import Logging
import Sandboxes
import Volumes

/// Makes a private disk of an image, forks it, writes it out, and puts that on a volume.
///
///     clones DIRECTORY IMAGE [DEVICE]
///
/// DIRECTORY keeps journal and stores from one start to the next. It needs root and a kernel with device-mapper.
@main enum Clones {
  static func main() async {
    let arguments = CommandLine.arguments
    guard arguments.count == 3 || arguments.count == 4 else {
      print("clones DIRECTORY IMAGE [DEVICE]")
      exit(2)
    }
    do throws(BlockError) {
      let flat = try await clone(arguments[2], in: arguments[1])
      if arguments.count == 4 { try await put(flat, on: arguments[3]) }
    } catch {
      // Step, object, cause and remedy in one sentence; programs decide by `error.kind`.
      print("clones: \(error)")
      exit(1)
    }
  }

  private static func clone(_ image: String, in directory: String) async throws(BlockError) -> String {
    let sandboxes = try Sandboxes(.init(directory: directory), .linux, log: Logger(label: "clones"))
    // What an earlier run has left is adopted or removed, as the journal says.
    try await sandboxes.recover()

    let first = try SandboxName("first")
    let second = try SandboxName("second")
    let made = try await sandboxes.create(SandboxRequest(name: first.text, base: image))
    print("\(made.device ?? "-") has \(made.size) bytes and stands on sha256:\(made.base.sha256)")

    let fork = try await sandboxes.fork(first, as: second)
    print("\(fork.device ?? "-") holds the same, and goes its own way")
    do throws(BlockError) {
      _ = try await sandboxes.pause(second)
    } catch  where error.kind == .busy {
      // Nothing is lost; a program that runs `sandboxes.watchOver()` sees it paused when they are done.
      print("not paused yet: \(error)")
    }

    let flat = "\(directory)/flat.img"
    let result = try await sandboxes.flatten(first, to: flat, replaces: true)
    print("\(flat) has \(result.size) bytes, of which \(result.written) were written")

    try await sandboxes.remove(second)
    try await sandboxes.remove(first)
    return flat
  }

  private static func put(_ image: String, on device: String) async throws(BlockError) {
    let volumes = Volumes(clock: LinuxClock())
    let volume = try await volumes.format(VolumeFormatRequest(volume: device, image: image))
    print("\(volume.volume) is \(volume.state)")
    let mapped = try await volumes.map(VolumeMapRequest(name: "virtlet-dm-clone", volume: device))
    print("\(mapped.device ?? "-") shows it")
    try await volumes.unmap("virtlet-dm-clone", isForced: false)
  }
}
