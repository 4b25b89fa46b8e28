import BlockCore
import Glibc

/// A file system of its own that can be filled; mounting it takes root.
public final class SmallDisk: Sendable {
  /// Where it is mounted.
  public let path: String

  /// Mounts one.
  ///
  /// - Parameters:
  ///   - path: Where; the directory is made.
  ///   - type: Its type.
  ///   - options: What it is mounted with.
  ///   - device: What holds it.
  public init(
    _ path: String, type: String = "tmpfs", options: String = "size=8m", device: String = "none"
  ) throws {
    self.path = path
    let mount = try Program.run([
      "sh", "-c", "mkdir -p \"$0\" && mount -t $1 -o $2 \"$3\" \"$0\"", path, type, options, device,
    ])
    guard mount.status == 0 else {
      throw BlockError(.unavailable, step: "mount", object: path, cause: mount.errors)
    }
  }

  deinit { umount2(path, Int32(MNT_DETACH)) }

  /// Takes all the room that there is, but for so much.
  public func fill(leaving bytes: Int = 0) throws {
    // A file system that keeps something in mind for itself has none left only when it is asked again.
    let script = """
      head -c "$1" /dev/zero > "$0/rest" && { cat /dev/zero >> "$0/filler"; cat /dev/zero >> "$0/filler"; rm "$0/rest"; }
      """
    let filled = try Program.run(["sh", "-c", script, path, "\(bytes)"])
    guard filled.status == 0 else {
      throw BlockError(.unavailable, step: "fill", object: path, cause: filled.errors)
    }
  }

  /// Gives back what was filled.
  public func clear() { unlink("\(path)/filler") }
}
