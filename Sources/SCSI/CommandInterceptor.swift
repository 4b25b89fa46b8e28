import BlockCore

/// Something that serves commands before a logical unit looks at them: a handler with commands of its own.
public protocol CommandInterceptor: Sendable {
  /// Serves a command, waiting as long as it takes.
  ///
  /// - Parameters:
  ///   - command: The command, with its data; both belong to the callee until it returns.
  ///   - workspace: The calling task's own.
  /// - Returns: The result, or `nil` to leave the command to the logical unit; its data is untouched then.
  func intercept(_ command: Command, using workspace: Workspace) async -> CommandResult?
}
