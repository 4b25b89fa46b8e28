import BlockCore
import Glibc
import LinuxIO
import SystemPackage

extension Backstore {
  private var directory: ConfigDirectory { ConfigDirectory(path) }

  /// Between two attempts to enable it while netlink is blocked: by a daemon that starts, for a moment.
  private static let enablePause = Duration.milliseconds(50)

  /// What helps when the kernel waits for an answer that nobody gives.
  private static let unblockRemedy =
    "A daemon that serves TCM-USER devices does not answer the kernel. Restart it, or let the kernel give up "
    + "waiting: write 1 to block_netlink, 1 to reset_netlink and 0 to block_netlink in "
    + NetlinkBlocking.parameters + "."

  /// Makes it, sets it up and enables it; its device is there afterwards.
  ///
  /// - Parameters:
  ///   - options: How.
  ///   - deadline: How long to wait for the kernel, which may itself wait for a server's answer.
  /// - Throws: `conflict` if there is one of that name, `invalidArgument` for options that no backstore can have,
  ///   `timedOut`, others by errno. Nothing is left then, unless the deadline has passed.
  public func create(_ options: Options, deadline: Duration = .seconds(30)) async throws(BlockError) {
    try options.check(self)
    try await bounded("create", deadline) { deadline throws(BlockError) in
      try makeDirectories()
      do throws(BlockError) {
        try setUp(options)
        try enable(deadline)
        for (attribute, value) in options.attributes { try set(attribute, to: value) }
      } catch {
        do throws(BlockError) {
          try removeDirectories()
        } catch let further {
          throw error.aggravated(by: further, while: "removing it")
        }
        throw error
      }
    }
  }

  /// Removes it; one that is not there is removed already.
  ///
  /// No LUN may export it any more.
  ///
  /// - Throws: `busy` if one does, `timedOut`, others by errno.
  public func remove(deadline: Duration = .seconds(30)) async throws(BlockError) {
    try await bounded("remove", deadline) { _ throws(BlockError) in try removeDirectories() }
  }

  /// Sets an attribute: a file in `attrib`.
  ///
  /// Setting `dev_size`, `dev_config` or `emulate_write_cache` of an enabled one asks its server, if the kernel
  /// waits for answers.
  ///
  /// - Throws: `timedOut`, others by errno.
  public func set(
    _ attribute: String, to value: String, deadline: Duration = .seconds(30)
  ) async throws(BlockError) {
    try await bounded("set \(attribute) of", deadline) { _ throws(BlockError) in try set(attribute, to: value)
    }
  }

  /// Tells the kernel a new size, without asking the server: for the server itself.
  ///
  /// - Throws: By errno.
  public func publishSize(_ byteCount: UInt64) throws(BlockError) {
    try directory.write("dev_size=\(byteCount)", to: "control")
  }

  private func set(_ attribute: String, to value: String) throws(BlockError) {
    try directory.write(value, to: "attrib/\(attribute)")
  }

  private func bounded<Value: Sendable>(
    _ step: String, _ time: Duration,
    _ body: @escaping @Sendable (BoundedStep.Deadline) throws(BlockError) -> Value
  ) async throws(BlockError) -> Value {
    try await BoundedStep.run(
      .init(time: time, step: step, object: "backstore \(self)", remedy: Self.unblockRemedy), body)
  }

  private func makeDirectories() throws(BlockError) {
    // Another one may remove the adapter's directory, empty, between our two steps.
    for attempt in 1... {
      try ConfigDirectory(hbaPath).make()
      do throws(BlockError) {
        if try directory.make() { return }
      } catch  where error.errno == .noSuchFileOrDirectory && attempt < 10 {
        continue
      }
      throw BlockError(
        .conflict, step: "create", object: "backstore \(self)", cause: "there is one of that name",
        remedy: "Use another ID, or remove it if nobody uses it.")
    }
  }

  private func setUp(_ options: Options) throws(BlockError) {
    if options.configuration.contains(where: { $0 == "," || $0.isNewline }) {
      // These end a value in `control`.
      try set("dev_config", to: options.configuration)
    } else {
      try directory.write("dev_config=\(options.configuration)", to: "control")
    }
    try directory.write("hw_block_size=\(options.blockSize)", to: "control")
    try directory.write("dev_size=\(options.byteCount)", to: "control")
    try directory.write("hw_max_sectors=\(options.maximumSectors)", to: "control")
    if let mebibytes = options.dataAreaMebibytes {
      try directory.write("max_data_area_mb=\(mebibytes)", to: "control")
    }
    if let pages = options.pagesPerDataBlock {
      try directory.write("data_pages_per_blk=\(pages)", to: "control")
    }
    if let mebibytes = options.commandRingMebibytes {
      // A kernel that does not know it takes no notice.
      try directory.write("cmd_ring_size_mb=\(mebibytes)", to: "control")
    }
    if !options.waitsForAnswers { try directory.write("nl_reply_supported=-1", to: "control") }
    if let serial = options.serial { try directory.write(serial, to: "wwn/vpd_unit_serial") }
  }

  private func enable(_ deadline: BoundedStep.Deadline) throws(BlockError) {
    while true {
      do throws(BlockError) {
        return try directory.write("1", to: "enable")
      } catch {
        guard error.errno == .resourceTemporarilyUnavailable else { throw refusal(error) }
        guard deadline.sleep(Self.enablePause) else {
          throw BlockError(
            .timedOut, step: "enable", object: "backstore \(self)",
            cause: "the kernel's netlink events stay blocked", remedy: Self.unblockRemedy, errno: error.errno)
        }
      }
    }
  }

  /// Why the kernel did not enable it: mostly, because whoever serves its subtype could not.
  private func refusal(_ error: BlockError) -> BlockError {
    BlockError(
      error.kind, step: "enable", object: "backstore \(self)",
      cause: "the kernel, or whoever serves that subtype, refused: \(error.cause)",
      remedy: "See the log of the daemon that serves it, and the kernel's (dmesg).", errno: error.errno)
  }

  private func removeDirectories() throws(BlockError) {
    do throws(BlockError) {
      try directory.remove()
    } catch  where error.errno == .resourceBusy {
      let users = FabricLink.all(to: self).map(\.path).joined(separator: ", ")
      throw BlockError(
        .busy, step: "remove", object: "backstore \(self)", cause: "it is exported: \(users)",
        remedy: "Remove the export first.", errno: error.errno)
    }
    // Others may have theirs in it.
    try ConfigDirectory(hbaPath).remove()
  }
}

extension Backstore.Options {
  /// Checks what the kernel would take without a word.
  ///
  /// - Throws: `invalidArgument`.
  package func check(_ backstore: Backstore) throws(BlockError) {
    func reject(_ cause: String, _ remedy: String) -> BlockError {
      BlockError(
        .invalidArgument, step: "create", object: "backstore \(backstore)", cause: cause, remedy: remedy)
    }
    let count = configuration.utf8.count
    guard count > 0, count <= Limits.backstoreConfigBytes, !configuration.utf8.contains(0) else {
      throw reject(
        "its configuration has \(count) bytes, and 1 to \(Limits.backstoreConfigBytes) are possible",
        "Use a shorter path.")
    }
    guard blockSize == 512 || blockSize == 4096, byteCount % UInt64(blockSize) == 0 else {
      throw reject("\(byteCount) bytes are not whole blocks of \(blockSize)", "Use another size.")
    }
  }

  /// What is set only when it is enabled.
  var attributes: [(String, String)] {
    commandTimeout.map { [("cmd_time_out", "\($0)")] } ?? []
  }
}
