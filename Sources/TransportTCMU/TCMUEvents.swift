import BlockCore
/// Placeholder of the events.
public enum TCMUEvents {}
