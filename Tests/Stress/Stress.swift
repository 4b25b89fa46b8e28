import ArgumentParser
import BlockSim
import Foundation
import Synchronization
import TestKit

/// Asks a manager conflicting things, many at once, of every route that it has; scripts/sanitize starts the manager and
/// says what the requests are about.
///
/// Some clients send several requests before they take an answer, some leave before it comes, some in the middle of a
/// request. It fails if an answer is missing, is none of docs/api.md, or if the manager is another process afterwards
/// than before. What the answers were is printed as a table.
@main
struct Stress: ParsableCommand {
  @Option(help: "The manager's socket.")
  var socket: String

  @Option(help: "How many requests of each route.")
  var requests = 500

  @Option(help: "How many clients there are at once.")
  var clients = 24

  @Option(parsing: .upToNextOption, help: "What is attached.")
  var images: [String]

  @Option(parsing: .upToNextOption, help: "Block devices and files for volumes.")
  var volumes: [String]

  @Option(parsing: .upToNextOption, help: "Images for volumes, and bases of sandboxes.")
  var contents: [String]

  @Option(help: "Where sandboxes' files may go.")
  var directory: String

  @Option(parsing: .upToNextOption, help: "Only these routes, as the table calls them.")
  var only: [String] = []

  @Option(help: "How often the manager goes over to itself under requests.")
  var restarts = 5

  func run() throws {
    let seed = Seed.of("stress")
    let objects = Objects(images: images, volumes: volumes, contents: contents, directory: directory)
    let status = try ManagerFacts(socket)
    var failures: [String] = []
    var tallies: [Tally] = []
    for routes in [objects.manager, objects.attachments, objects.volumeRoutes, objects.sandboxes] {
      let chosen = routes.filter { only.isEmpty || only.contains($0.name) }
      if chosen.isEmpty { continue }
      let load = Load(socket: socket, routes: chosen, requests: requests, seed: seed)
      load.run(clients: clients)
      tallies.append(load.tally)
      failures += load.failures
      failures += TakingApart(socket: socket).run()
    }
    if only.isEmpty { failures += try restart(objects.manager, seed) }
    for tally in tallies { print(tally) }
    let now = try ManagerFacts(socket)
    if now.pid != status.pid { failures.append("the manager was process \(status.pid) and is \(now.pid)") }
    for failure in failures.prefix(20) { print("FAILED  \(failure)") }
    guard failures.isEmpty else { throw ExitCode.failure }
  }

  /// Has the manager go over to its own program again and again while others ask.
  private func restart(_ routes: [Route], _ seed: UInt64) throws -> [String] {
    guard restarts > 0 else { return [] }
    let load = Load(socket: socket, routes: routes, requests: .max, seed: seed)
    load.isHangingUpAllowed = true
    let worker = Thread { load.run(clients: 8) }
    worker.start()
    var failures: [String] = []
    for number in 1...restarts {
      let before = try ManagerFacts(socket)
      var connection = try Connection(socket)
      try connection.send(
        Array("POST /v1/restart HTTP/1.1\r\nHost: ashlar\r\nContent-Length: 0\r\n\r\n".utf8))
      let answer = try connection.answer()
      if answer.status != 200 { failures.append("restart \(number): \(answer.status) \(answer.body)") }
      if try ManagerFacts.awaited(socket, after: before) == nil {
        failures.append("restart \(number): no new manager within \(Connection.patience) s")
      }
    }
    load.stop()
    while !worker.isFinished { usleep(10_000) }
    return failures + load.failures
  }
}

/// What a manager says of itself.
struct ManagerFacts: Decodable {
  var pid: Int32
  var startedAt: Double

  init(_ socket: String) throws {
    var connection = try Connection(socket)
    try connection.send(Array("GET /v1/status HTTP/1.1\r\nHost: ashlar\r\n\r\n".utf8))
    self = try JSONDecoder().decode(Self.self, from: Data(connection.answer().body.utf8))
  }

  /// The facts of the manager that follows another one, in the same process; `nil` if none comes.
  static func awaited(_ socket: String, after before: ManagerFacts) throws -> ManagerFacts? {
    let end = Date().addingTimeInterval(Double(Connection.patience))
    while Date() < end {
      do {
        let now = try ManagerFacts(socket)
        if now.startedAt != before.startedAt { return now }
      } catch let error as NoAnswer {
        // There is nobody for a moment; a wrong answer is an error of another type.
        guard case .late = error else {
          usleep(20_000)
          continue
        }
        throw error
      }
      usleep(20_000)
    }
    return nil
  }
}

/// How often each route was answered with each status.
struct Tally: CustomStringConvertible {
  var statuses: [String: [Int: Int]] = [:]
  /// Requests whose answer nobody waited for.
  var abandoned: [String: Int] = [:]
  /// Of the answers that say that something is wrong with the host, one for each route and status.
  var examples: [String: String] = [:]

  var description: String {
    let rows = Set(statuses.keys).union(abandoned.keys).sorted().map { route in
      let answers = (statuses[route] ?? [:]).sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }
      let name = route.padding(toLength: 36, withPad: " ", startingAt: 0)
      return "\(name) \((answers + ["left: \(abandoned[route] ?? 0)"]).joined(separator: ", "))"
    }
    return (rows + examples.values.sorted().map { "  for example \($0)" }).joined(separator: "\n")
  }
}
