import BlockCore
import Foundation
import Images
import LinuxIO

/// Opening the fixtures' images.
public enum FixtureImages {
  /// Opens an image configuration of the fixtures, for reading and without its result file.
  public static func open(_ name: String, _ services: HostServices = .linux) async throws -> Image {
    try unpackSparseUpper()
    return try await Image.open(
      ImageReference(nil, Fixtures.path(name), relativeTo: "/"),
      ImageOptions(isReadOnly: true, writesResultFile: false), services)
  }

  /// Unpacks the sparse file of `03-upper`, whose holes would not survive in a repository.
  private static func unpackSparseUpper() throws {
    let folder = Fixtures.path("lsmt/03-upper")
    guard !FileManager.default.fileExists(atPath: "\(folder)/upper-sparse.data") else { return }
    // Into a name of its own and then in one step, for tests run at the same time.
    let script = """
      set -e; cd '\(folder)'; t=$(mktemp -d unpack.XXXXXX); xz -dc upper-sparse.tar.xz | tar -C $t -xSf -
      mv -n $t/upper-sparse.index .; mv -n $t/upper-sparse.data .; rm -rf $t
      """
    let process = Process()
    process.executableURL = URL(filePath: "/bin/sh")
    process.arguments = ["-c", script]
    try process.run()
    process.waitUntilExit()
  }
}
