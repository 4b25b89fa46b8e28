import BlockCore

extension ManagerMessage: WireMessage {
  public var kind: String {
    switch self {
    case .hello: "hello"
    case .attach: "attach"
    case .commit: "commit"
    case .report: "report"
    case .detach: "detach"
    case .change: "change"
    case .handOver: "handOver"
    }
  }

  public func encodeContent(into body: inout KeyedEncodingContainer<WireKey>) throws {
    switch self {
    case .hello(let hello): try body.encode(hello, forKey: .content)
    case .attach(let order): try body.encode(order, forKey: .content)
    case .change(let change): try body.encode(change, forKey: .content)
    case .commit, .report, .detach, .handOver: break
    }
  }

  public init?(kind: String, _ body: KeyedDecodingContainer<WireKey>) throws {
    switch kind {
    case "hello": self = .hello(try body.decode(ManagerHello.self, forKey: .content))
    case "attach": self = .attach(try body.decode(ServerOrder.self, forKey: .content))
    case "commit": self = .commit
    case "report": self = .report
    case "detach": self = .detach
    case "change": self = .change(try body.decode(DeviceChange.self, forKey: .content))
    case "handOver": self = .handOver
    default: return nil
    }
  }
}

extension ServerMessage: WireMessage {
  public var kind: String {
    switch self {
    case .status: "status"
    case .attached: "attached"
    case .failed: "failed"
    case .counters: "counters"
    case .released: "released"
    case .detached: "detached"
    case .handedOver: "handedOver"
    case .changed: "changed"
    case .refused: "refused"
    }
  }

  public func encodeContent(into body: inout KeyedEncodingContainer<WireKey>) throws {
    switch self {
    case .status(let status), .attached(let status): try body.encode(status, forKey: .content)
    case .failed(let error), .refused(let error): try body.encode(error, forKey: .content)
    case .counters(let counters): try body.encode(counters, forKey: .content)
    case .changed(let error): try body.encodeIfPresent(error, forKey: .content)
    case .released, .detached, .handedOver: break
    }
  }

  public init?(kind: String, _ body: KeyedDecodingContainer<WireKey>) throws {
    switch kind {
    case "status": self = .status(try body.decode(ServerStatus.self, forKey: .content))
    case "attached": self = .attached(try body.decode(ServerStatus.self, forKey: .content))
    case "failed": self = .failed(try body.decode(ErrorMessage.self, forKey: .content))
    case "counters": self = .counters(try body.decode(RequestCounters.Snapshot.self, forKey: .content))
    case "released": self = .released
    case "detached": self = .detached
    case "handedOver": self = .handedOver
    case "changed": self = .changed(try body.decodeIfPresent(ErrorMessage.self, forKey: .content))
    case "refused": self = .refused(try body.decode(ErrorMessage.self, forKey: .content))
    default: return nil
    }
  }
}
