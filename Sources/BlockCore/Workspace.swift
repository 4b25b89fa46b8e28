/// The memory that one thread works in while it serves requests, so that no request allocates any.
///
/// Every queue thread has one, and every task of the second phase borrows one from a
/// ``WorkspacePool``. It is not `Sendable`: it belongs to one thread of execution at a time.
public final class Workspace {
  private var components: [(key: ObjectIdentifier, value: AnyObject)] = []

  /// Makes an empty workspace; it grows to what its requests need.
  public init() {}

  /// A format's own working state, made at the first call of a thread.
  @inline(__always)
  public func component<Component: WorkspaceComponent>(_ type: Component.Type) -> Component {
    let key = ObjectIdentifier(type)
    for entry in components where entry.key == key {
      return unsafeDowncast(entry.value, to: type)
    }
    return makeComponent(type)
  }

  @inline(never)
  private func makeComponent<Component: WorkspaceComponent>(_ type: Component.Type) -> Component {
    let component = Component()
    components.append((ObjectIdentifier(type), component))
    return component
  }
}

/// State that a format keeps per thread: a decompression context, a decoded block.
public protocol WorkspaceComponent: AnyObject {
  /// Makes the state of a thread that has served nothing yet.
  init()
}
