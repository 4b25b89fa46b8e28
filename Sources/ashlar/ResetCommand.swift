import ArgumentParser
import Attachments
import BlockCore
import ControlClient

/// `ashlar reset`.
struct ResetCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "reset", abstract: "Have a device forget a failure that somebody has seen to.")

  @OptionGroup var instance: InstanceOptions

  @Argument(help: "What it is called.")
  var id: String

  @Flag(
    help: ArgumentHelp(
      "Flush again, although an earlier flush failed.",
      discussion: "What it lost is lost: check the file, and what is on it, before."))
  var flushError = false

  @Flag(help: "Print everything about the device as JSON.")
  var json = false

  func validate() throws {
    if !flushError { throw ValidationError("Name what is to be forgotten: --flush-error.") }
  }

  func run() async throws {
    let id = try AttachmentID(id)
    let request = ResetRequest(flushError: flushError)
    let info: AttachmentInfo = try await instance.withManager { client async throws(BlockError) in
      try await client.call(.post, "/v1/attachments/\(id.escapedInURL)/reset", body: request)
    }
    if json { try Output.json(info) }
  }
}
