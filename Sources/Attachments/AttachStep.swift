/// One step of an attach, as it is told to whoever asked for it.
public struct AttachStep: Sendable, Hashable, Codable {
  /// When it was noted: seconds since 1970-01-01 00:00:00 UTC.
  public var at: Double
  /// What was done or seen, in words.
  public var text: String

  /// Makes a step; the parameters are those of the properties.
  public init(at: Double, text: String) {
    self.at = at
    self.text = text
  }
}
