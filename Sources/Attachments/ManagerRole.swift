/// What a manager was started for: it makes way for one that does more.
public enum ManagerRole: String, Sendable, Comparable, CaseIterable {
  /// A command needed one; it ends by itself.
  case command
  /// Somebody has started it, to stay.
  case daemon
  /// It serves backstores that others make, and has promised the kernel to answer for them.
  case service

  public static func < (left: ManagerRole, right: ManagerRole) -> Bool { left.rank < right.rank }

  private var rank: Int { Self.allCases.firstIndex(of: self) ?? 0 }
}
