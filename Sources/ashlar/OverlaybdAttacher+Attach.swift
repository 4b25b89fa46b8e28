import ArgumentParser
import Attachments
import BlockCore
import FoundationEssentials
import Images
import LinuxIO
import TransportTCMU

extension OverlaybdAttacher {
  /// `overlaybd-attacher attach`.
  struct Attach: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "attach", abstract: "Make a block device of an image, and print its path.",
      discussion:
        "What fails is tried \(tries) times, a second apart. How it went is told in the configuration's "
        + "resultFile; without one, in \(AttachResultFile.usualName) beside the configuration.")

    @OptionGroup var instance: InstanceOptions

    @Option(help: "What to call it: 1 to 13 characters.")
    var id: String

    @Option(help: ArgumentHelp("The image's configuration.", valueName: "config.v1.json"))
    var config: String

    @Flag(name: .shortAndLong, help: "Tell each step on standard error.")
    var verbose = false

    @Flag(name: .customLong("with-devid"), help: "End the backstore's configuration with the ID.")
    var withDevID = false

    @Option(
      help: ArgumentHelp(
        "How the device is made: tcmu, as by the original, or fuse.",
        discussion: "The original does not have this option."))
    var transport = TransportChoice.tcmu.rawValue

    /// How often, and how far apart, as the original does it.
    private static let tries = 5
    private static let pause = Duration.seconds(1)

    func validate() throws {
      guard [TransportChoice.tcmu, .fuse].map(\.rawValue).contains(transport) else {
        throw ValidationError("--transport is tcmu or fuse.")
      }
    }

    func run() async throws {
      // What no further try makes right comes before the first: a wrong call, and a caller who may not.
      let id = try AttachmentID(id, atMost: Limits.targetIDBytes)
      _ = try DeviceNames(id: id.text)
      try HostSupport.require(.tcmu)
      let reference = ImageReference(.overlaybd, try ProgramText.absolute(config), relativeTo: "/")
      var request = AttachRequest(
        id: id.text, image: "\(reference)", transport: transport, readOnly: nil)
      request.withDevID = withDevID
      var record = AttachRecord(isTold: verbose)
      record.note("attaching \(id): \(reference.path), over \(transport)")
      var file: AttachResultFile?
      let outcome = await attach(request, reference, &record, &file)
      // It may have come with the last of the tries.
      if file == nil { file = await AttachResultFile(ofConfiguration: reference.path) }
      if case .success(let info) = outcome { report(info, &record) }
      if let failure = await file?.write(outcome, record.steps) {
        Output.say("note: \(failure)")
      }
      Output.line(try outcome.get().device ?? "")
    }

    /// Tries it, and again after a failure.
    private func attach(
      _ request: AttachRequest, _ reference: ImageReference, _ record: inout AttachRecord,
      _ file: inout AttachResultFile?
    ) async -> Result<AttachmentInfo, BlockError> {
      var last: BlockError?
      var number = 0
      while true {
        number += 1
        file = await AttachResultFile(ofConfiguration: reference.path)
        record.note("try \(number) of \(Self.tries)")
        do throws(BlockError) {
          return .success(try await attach(request, reference, &record))
        } catch {
          // Standard error is told below, or at the end.
          record.add("failed: \(error)")
          guard number < Self.tries else { return .failure(error) }
          let cause = error == last ? "in the same way" : "\(error)"
          Output.say("try \(number) of \(Self.tries) failed, the next one comes in 1 s: \(cause)")
          last = error
        }
        do throws(BlockError) {
          try await LinuxClock().pause(for: Self.pause)
        } catch {
          return .failure(error)
        }
      }
    }

    /// Has the manager attach, and records what it tells of that.
    private func attach(
      _ request: AttachRequest, _ reference: ImageReference, _ record: inout AttachRecord
    ) async throws(BlockError) -> AttachmentInfo {
      var course: [AttachStep]?
      do throws(BlockError) {
        let info = try await AttachCommand.attach(request, reference, instance) { course = $0.course }
        record.take(info.course)
        return info
      } catch {
        record.take(course)
        throw error
      }
    }

    /// Says what came of it: the device to whoever wants to know all, and what was asked and not done to everybody.
    private func report(_ info: AttachmentInfo, _ record: inout AttachRecord) {
      record.note("\(id) is \(info.device ?? "?"), \(Output.size(info.size))")
      // What is attached already may have failed since.
      var notices = info.notices + [info.problem].compactMap(\.self)
      if withDevID, info.server != nil {
        notices.append(
          "--with-devid: this engine serves the image and has no interface that addresses it by the ID")
      }
      for notice in notices {
        Output.say("note: \(notice)")
        record.add("note: \(notice)")
      }
    }
  }
}

/// What is told of an attach: at the end in a file, and at once on standard error if somebody wants to see it.
struct AttachRecord {
  /// Whether each step is told at once.
  let isTold: Bool
  private(set) var steps: [AttachStep] = []

  init(isTold: Bool) {
    self.isTold = isTold
  }

  /// Records a step that is done now.
  mutating func note(_ text: String) {
    add(text)
    if isTold { Output.say(text) }
  }

  /// Records what is told already.
  mutating func add(_ text: String) {
    steps.append(AttachStep(at: LinuxClock().sinceEpoch / .seconds(1), text: text))
  }

  /// Records what the manager tells of an attach.
  mutating func take(_ course: [AttachStep]?) {
    for step in course ?? [] {
      steps.append(step)
      if isTold { Output.say(step.text) }
    }
  }
}
