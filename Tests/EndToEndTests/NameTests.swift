import Foundation
import TestKit
import Testing

extension SerialEndToEndTests {
  /// Paths are bytes: one that is not UTF-8 is refused, and never another file's.
  @Suite struct NameTests {
    @Test func aPathThatIsNotUTF8IsRefused() throws {
      let instance = try Instance()
      let directory = instance.scratch.path
      let script = #"""
        cd \#(directory)
        real=$(printf 'x\xef\xbf\xbd.img'); other=$(printf 'x\xff.img')
        truncate -s 1M "$real" "$other"; ln -s "$other" link
        ashlar attach --id u "raw:$other" && exit 1
        ashlar attach --id u raw:link && exit 1
        ashlar image info "raw:$other" && exit 1
        ashlar image extract "raw:$real" "$(printf 'out\xff')" && exit 1
        ashlard --root "$other" && exit 1
        # The file whose name has the character that stands for bad bytes.
        ashlar attach --id u "raw:$real" || exit 2
        curl -sS --unix-socket "$ASHLAR_RUN/ashlard.sock" "http://ashlar/v1/volume-content?volume=$PWD/x%ff.img" >&2
        printf '{"id":"v","image":"raw:%s"}' "$PWD/$other" \
            | curl -sS --unix-socket "$ASHLAR_RUN/ashlard.sock" http://ashlar/v1/attachments -d @- >&2
        ashlar detach --id u
        """#
      let outcome = try instance.shell(script)
      #expect(outcome.status == 0, "\(outcome.output) \(outcome.errors)")
      #expect(
        outcome.errors.components(separatedBy: "the path is not UTF-8").count - 1 == 7, "\(outcome.errors)")
      try instance.expectNothingLeft()
    }

    @Test func whatIsNoFileOnADiskIsRefused() throws {
      let instance = try Instance()
      let kernel = try instance.ashlar("attach", "--id", "p", "raw:/proc/version")
      #expect(kernel.status == 1 && kernel.errors.contains("one of the kernel's own"), "\(kernel.errors)")
      let loop = instance.scratch("loop")
      try FileManager.default.createSymbolicLink(atPath: loop, withDestinationPath: loop)
      let config = try instance.scratch.write("config.v1.json", text: #"{"lowers": [{"file": "loop"}]}"#)
      let outcome = try instance.ashlar("image", "info", config)
      #expect(outcome.errors.contains("Too many levels of symbolic links"), "\(outcome.errors)")
      let hidden = try instance.ashlar("attach", "--id", "a\u{202E}b", config)
      #expect(hidden.errors.contains("U+202E") && !hidden.errors.contains("\u{202E}"), "\(hidden.errors)")
    }

    /// Where the caller's mounts are others than the manager's, a path may lead to another file there.
    @Test func aPathThatIsAnotherFileForTheManagerIsRefused() throws {
      let instance = try Instance()
      let directory = instance.scratch.path
      let script = #"""
        cd \#(directory)
        mkdir -p place; truncate -s 1M place/disk.img shared.img
        ashlar daemon start
        cat > inside.sh <<'EOF'
        mount -t tmpfs tmpfs place
        truncate -s 2M place/disk.img place/only-here.img
        ashlar attach --id n "raw:$PWD/place/disk.img" && exit 1
        ashlar sandbox create n --base "$PWD/place/disk.img" && exit 1
        ashlar attach --id n "raw:$PWD/place/only-here.img" && exit 1
        ashlar attach --id n "raw:$PWD/shared.img" || exit 2
        ashlar detach --id n
        EOF
        unshare --mount --propagation private bash inside.sh
        """#
      let outcome = try instance.shell(script)
      #expect(outcome.status == 0, "\(outcome.output) \(outcome.errors)")
      let refused = outcome.errors.components(separatedBy: "sees another file there").count - 1
      #expect(refused == 2, "\(outcome.errors)")
      #expect(outcome.errors.contains("only-here.img"), "\(outcome.errors)")
      try instance.expectNothingLeft()
    }
  }
}
