/// Handlers: volumes that programs of others serve.
public enum Handlers {}
