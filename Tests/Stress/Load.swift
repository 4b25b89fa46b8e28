import BlockSim
import Foundation
import Synchronization

/// Clients that ask the routes of a group at the same time.
final class Load: Sendable {
  /// The statuses that docs/api.md lists, and that of a path without a route.
  private static let statuses: Set<Int> = [200, 400, 403, 404, 409, 422, 500, 503, 504, 507]

  /// What makes and removes devices of volumes.
  private static let volumeRoutes: Set<String> = ["POST /v1/volumes", "DELETE /v1/volumes/NAME"]

  private struct State {
    var remaining: [Int]
    var tally = Tally()
    var failures: [String] = []
    var isHangingUpAllowed = false
  }

  private let socket: String
  private let routes: [Route]
  private let seed: UInt64
  private let state: Mutex<State>

  /// Makes a load of so many requests of each route.
  init(socket: String, routes: [Route], requests: Int, seed: UInt64) {
    self.socket = socket
    self.routes = routes
    self.seed = seed
    state = Mutex(State(remaining: routes.map { _ in requests }))
  }

  var tally: Tally { state.withLock { $0.tally } }
  var failures: [String] { state.withLock { $0.failures } }

  /// Whether a connection may end without an answer, as it does when the manager goes over to another program.
  var isHangingUpAllowed: Bool {
    get { state.withLock { $0.isHangingUpAllowed } }
    set { state.withLock { $0.isHangingUpAllowed = newValue } }
  }

  /// Has nothing further be asked.
  func stop() { state.withLock { state in state.remaining = state.remaining.map { _ in 0 } } }

  /// Asks everything, by so many clients, each on a thread of its own.
  func run(clients: Int) {
    let threads = (0..<clients).map { number in
      Thread { [self] in
        var random = SplitMix64(seed: seed &+ UInt64(number) &* 1_000_003)
        while let batch = next(&random) { ask(batch, &random) }
      }
    }
    for thread in threads { thread.start() }
    for thread in threads { while !thread.isFinished { usleep(10_000) } }
  }

  /// One to four routes of those that are not done.
  private func next(_ random: inout SplitMix64) -> [Route]? {
    var chosen = random
    defer { random = chosen }
    return state.withLock { state in
      var batch: [Route] = []
      for _ in 0..<Int.random(in: 1...4, using: &chosen) {
        let open = state.remaining.indices.filter { state.remaining[$0] > 0 }
        guard let index = open.randomElement(using: &chosen) else { break }
        state.remaining[index] -= 1
        batch.append(routes[index])
      }
      return batch.isEmpty ? nil : batch
    }
  }

  /// Sends all of a batch at once; takes the answers, or leaves at some time before.
  private func ask(_ batch: [Route], _ random: inout SplitMix64) {
    var bytes: [UInt8] = []
    for route in batch { bytes += route.request(&random) }
    let isLeaving = Int.random(in: 0..<5, using: &random) == 0
    do throws(NoAnswer) {
      var connection = try Connection(socket)
      if isLeaving {
        // Often behind the last byte, so that it is all work for nobody.
        let count =
          Bool.random(using: &random) ? bytes.count : Int.random(in: 1...bytes.count, using: &random)
        try connection.send(Array(bytes[..<count]))
        state.withLock { state in for route in batch { state.tally.abandoned[route.name, default: 0] += 1 } }
        return
      }
      try connection.send(bytes)
      for route in batch {
        let answer = try connection.answer()
        state.withLock { $0.tally.statuses[route.name, default: [:]][answer.status, default: 0] += 1 }
        check(answer, of: route)
        if route.name == "POST /v1/attachments", answer.status == 200 { read(answer.body, &random) }
      }
    } catch {
      let isAllowed =
        switch error {
        case .hungUp, .cannotConnect: isHangingUpAllowed
        case .late, .malformed: false
        }
      if isAllowed { return }
      let names = batch.map(\.name).joined(separator: ", ")
      state.withLock { $0.failures.append("\(names): \(error)") }
    }
  }

  /// Reads some of the device that an answer names, which may go meanwhile, or be somebody else's already: only that the
  /// data server has something to do counts, and that a detach meets a user.
  private func read(_ answer: String, _ random: inout SplitMix64) {
    guard let match = answer.firstMatch(of: #/"device":"([^"]+)"/#) else { return }
    let descriptor = open(String(match.1), O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    defer { close(descriptor) }
    var block = [UInt8](repeating: 0, count: 64 << 10)
    for _ in 0..<16 {
      let offset = off_t.random(in: 0..<1024, using: &random) * 4096
      _ = pread(descriptor, &block, block.count, offset)
    }
  }

  private func check(_ answer: Answer, of route: Route) {
    // Clients that want one volume to be there and not to be there hear who was faster, and nothing of the host.
    let isHostBlamed = answer.status == 503 && Self.volumeRoutes.contains(route.name)
    let isExplained = answer.status == 200 || answer.status == 404 || answer.body.contains("\"kind\":")
    let text = "\(route.name): \(answer.status) \(answer.body.prefix(500))"
    if !Self.statuses.contains(answer.status) || !isExplained || isHostBlamed {
      state.withLock { $0.failures.append(text) }
    } else if answer.status >= 500 {
      // Not wrong by itself; whoever reads the table wants to know.
      state.withLock { $0.tally.examples["\(route.name) \(answer.status)"] = text }
    }
  }
}

/// Takes apart what a load has left: attachments, mapped volumes and sandboxes.
struct TakingApart {
  private struct Listed: Decodable {
    var id: String?
    var name: String?
  }

  let socket: String

  /// Takes everything apart, also what requests that nobody waits for are still making.
  ///
  /// - Returns: What is left, in words.
  func run() -> [String] {
    let end = Date().addingTimeInterval(Double(Connection.patience))
    var rounds = 0
    do {
      while Date() < end {
        let left = try ["attachments", "volumes", "sandboxes"].reduce(0) { try $0 + remove($1) }
        rounds = left == 0 ? rounds + 1 : 0
        if rounds == 3 { return [] }
        usleep(100_000)
      }
    } catch {
      return ["taking apart: \(error)"]
    }
    return ["something is left: \(answers.joined(separator: "; "))"]
  }

  private var answers: [String] {
    ["attachments", "volumes", "sandboxes"].map { kind in
      do throws(NoAnswer) { return try ask("GET /v1/\(kind)").body } catch { return "\(kind): \(error)" }
    }
  }

  /// Removes all of a kind; returns how many there were.
  private func remove(_ kind: String) throws -> Int {
    let listed = try ask("GET /v1/\(kind)")
    // Without device-mapper there are no volumes and sandboxes.
    guard listed.status == 200 else { return 0 }
    let all = try JSONDecoder().decode([Listed].self, from: Data(listed.body.utf8))
    for each in all { _ = try ask("DELETE /v1/\(kind)/\(each.id ?? each.name ?? "")?force=true") }
    return all.count
  }

  private func ask(_ line: String) throws(NoAnswer) -> Answer {
    var connection = try Connection(socket)
    try connection.send(Array("\(line) HTTP/1.1\r\nHost: ashlar\r\n\r\n".utf8))
    return try connection.answer()
  }
}
