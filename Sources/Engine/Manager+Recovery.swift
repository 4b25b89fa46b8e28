import Attachments
import BlockCore
import Glibc
import Journals
import LinuxIO
import Logging

// What a new manager finds: what the journal speaks of, and what it does not.
extension Manager {
  /// Opens the journal; a damaged one is put aside first if that was asked for.
  ///
  /// - Returns: The journal, and where the damaged one is.
  static func journal(_ options: Options, _ log: Logger) throws(BlockError) -> (Journal, String?) {
    let path = options.directories.journal
    let journal: Journal
    var aside: String?
    do throws(BlockError) {
      let opened = try Journal(path)
      // What is damaged may only be seen when it is read.
      _ = try opened.entries()
      journal = opened
    } catch  where options.putsDamagedAside && JournalCheck.isDamage(error) {
      let place = try JournalCheck.putAside(path)
      log.error("\(error) It was put aside: \(place)")
      aside = place
      journal = try Journal(path)
    }
    if let notice = journal.notice { log.warning("\(path): \(notice)") }
    return (journal, aside)
  }

  /// Takes over what the journal speaks of: adopts what lives, cleans up after what does not.
  ///
  /// All at the same time: a server that is slow to answer holds up nobody else. One attachment that cannot be
  /// taken over does not keep the others, or the manager, from working.
  func recover() async throws(BlockError) {
    let log = context.log
    var rows: [Journal.Row] = []
    for entry in try context.journal.entries() {
      switch entry {
      case .row(let row): rows.append(row)
      case .unreadable(let id, let reason):
        log.error("\(id ?? "a row of the journal"): left alone, since it cannot be read: \(reason)")
      }
    }
    var known: Set<String> = []
    await withTaskGroup(of: Void.self) { group in
      for row in rows {
        do throws(BlockError) {
          let attachment = try Attachment(context, row: row)
          attachments[attachment.id] = attachment
          known.insert(context.directories.serverSocket(row.exportName))
          group.addTask {
            do throws(BlockError) {
              try await attachment.inTurn { attachment in await attachment.recover() }
            } catch {
              log.error("\(row.id): not taken over: \(error)")
            }
          }
        } catch {
          log.error("\(row.id): not taken over: \(error)")
        }
      }
    }
    await findOrphans(besides: known)
  }

  /// Lists what is there and that no row names; nothing is done to it.
  private func findOrphans(besides known: Set<String>) async {
    let directory = context.directories.servers
    let clock = context.services.clock
    let deadline = context.deadlines.report
    await withTaskGroup(of: (String, Orphan?).self) { group in
      for name in SmallFile.entries(directory) where name.hasSuffix(".sock") {
        let path = "\(directory)/\(name)"
        if known.contains(path) { continue }
        group.addTask {
          let random = String(name.dropLast(".sock".count))
          return (path, await Orphan.look(for: random, at: path, within: deadline, clock: clock))
        }
      }
      for await (path, orphan) in group {
        guard let orphan else {
          // Nobody else has that name.
          if Orphan.isGone(at: path) { unlink(path) }
          continue
        }
        do throws(BlockError) {
          try await list(orphan)
        } catch {
          context.log.error("what serves at \(path) is not listed: \(error)")
        }
      }
    }
  }

  private func list(_ orphan: Orphan) async throws(BlockError) {
    var id = try? AttachmentID(orphan.id)
    if id.map({ attachments[$0] != nil }) ?? true {
      // The random part of its name nobody else has.
      id = try AttachmentID("unknown-\(orphan.found.exportName.split(separator: "-").last ?? "")")
    }
    guard let id else { return }
    let now = Double(context.services.clock.sinceEpoch.components.seconds)
    let attachment = try Attachment(
      context, row: try orphan.row(id, bootID: context.bootID, now: now), isListed: false)
    attachments[id] = attachment
    await attachment.find(orphan)
  }

  /// Writes down what is there and that the journal does not know.
  ///
  /// - Returns: What was written down, and the path of a journal that was damaged and put aside by this manager.
  /// - Throws: What kept one from being written down; the others are.
  public func recoverUnlisted() async throws(BlockError) -> RecoveryReply {
    begin()
    defer { end() }
    var reply = RecoveryReply(attachments: [], putAside: putAside.map { [$0] } ?? [])
    var failure: BlockError?
    for known in Array(attachments.values) {
      let attachment = await relisted(known) ?? known
      do throws(BlockError) {
        if let info = try await attachment.inTurn({ attachment in await attachment.recoverUnlisted() }) {
          reply.attachments.append(info)
        }
      } catch {
        context.log.error("\(attachment.id): \(error)")
        failure = error
      }
    }
    if let failure { throw failure }
    return reply
  }

  /// What stands in the place of an attachment of which it is unknown what is attached: if its data server says that in
  /// words of this release, no newer release has written its row, if there is one, and it is damaged.
  private func relisted(_ attachment: Attachment) async -> Attachment? {
    guard await attachment.lacksSpec else { return nil }
    let path = context.directories.serverSocket(attachment.exportName)
    let random = attachment.exportName.split(separator: "-").last.map(String.init) ?? ""
    let orphan = await Orphan.look(
      for: random, at: path, within: context.deadlines.report, clock: context.services.clock)
    guard let orphan, let hello = orphan.status?.hello, hello.version <= WireProtocol.version,
      hello.spec != nil,
      hello.id == attachment.id.text, attachments[attachment.id] === attachment
    else { return nil }
    let now = Double(context.services.clock.sinceEpoch.components.seconds)
    do throws(BlockError) {
      let row = try orphan.row(attachment.id, bootID: context.bootID, now: now)
      let next = try Attachment(context, row: row, isListed: false)
      attachments[attachment.id] = next
      await attachment.retire()
      await next.find(orphan)
      return next
    } catch {
      context.log.error("\(attachment.id): \(error)")
      return nil
    }
  }

  /// Writes what the journal's disk has no room for, again and again until it has; whenever something has none.
  static func writeOwed(_ context: Attachment.Context) async {
    let (journal, log) = (context.journal, context.log)
    for await shortage in journal.shortages {
      log.error("\(shortage) What has changed is kept in memory until it can be written.")
      var isOwed = true
      while isOwed {
        do throws(BlockError) {
          try await context.services.clock.pause(for: context.deadlines.journal)
          // On a thread of its own: a disk that hangs keeps nobody else.
          try await Blocking.run("journal") { () throws(BlockError) in try journal.writeOwed() }
          isOwed = false
          log.notice("\(context.directories.journal): what could not be written before is written")
        } catch {
          if error.kind == .cancelled { return }
          log.debug("\(error)")
        }
      }
    }
  }

  /// Examines the journal's file as the next manager will.
  ///
  /// - Throws: `corrupt` if that could do nothing with it.
  public nonisolated func examineJournal() async throws(BlockError) {
    let journal = context.journal
    try await Blocking.run("journal") { () throws(BlockError) in try journal.examine() }
  }

  /// Puts the journal in order for an orderly end: its file holds everything by itself then.
  public func prepareEnd() {
    do throws(BlockError) {
      try context.journal.writeOwed()
      try context.journal.checkpoint()
    } catch {
      // What is written is in the log still, and of what is owed the next manager finds out by what is there.
      context.log.warning("\(error)")
    }
  }
}
