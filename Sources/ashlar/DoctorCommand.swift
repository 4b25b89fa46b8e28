import ArgumentParser
import Attachments
import BlockCore

/// `ashlar doctor`.
struct DoctorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "Say what this host can do, what auto would choose and why, and what is missing.",
    discussion: "Exit status 1 if nothing can be attached here.")

  @OptionGroup var instance: InstanceOptions

  @Flag(help: "Print one JSON object.")
  var json = false

  func run() throws {
    var report = HostSupport.report(instance.directories)
    let sandboxes = SandboxSupport.report()
    report.sandboxes = sandboxes
    let tcmu = TCMUSupport.report(instance.directories)
    report.tcmu = tcmu
    if json {
      try Output.json(report)
    } else {
      Output.line("kernel \(report.kernel)")
      Output.line("")
      Output.line("needed:")
      for finding in report.needed { show(finding) }
      Output.line("")
      Output.line("other ways to make a device:")
      for finding in report.transports { show(finding) }
      Output.line("")
      Output.line("auto chooses \(report.choice ?? "nothing"): \(report.reason)")
      Output.line("")
      Output.line("tcmu:")
      for finding in tcmu { show(finding) }
      Output.line("")
      Output.line("sandboxes:")
      for finding in sandboxes.findings { show(finding) }
      Output.line("a new sandbox gets \(sandboxes.driver ?? "nothing"): \(sandboxes.reason)")
    }
    if report.choice == nil { throw ExitCode(1) }
  }

  private func show(_ finding: HostSupport.Finding) {
    Output.line("  \(finding.isAvailable ? "yes" : "no ")  \(finding.name): \(finding.detail)")
    if let remedy = finding.remedy { Output.line("       \(remedy)") }
  }
}
