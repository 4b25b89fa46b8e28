/// Every limit of the engine, in one place.
///
/// Bytes from outside are hostile: whatever they ask for is held against one of these before memory is
/// taken or time is spent for it.
public enum Limits {
  /// Bytes in a page of memory on the machines we support.
  public static let pageSize = 4096

  // Names

  /// Bytes in an attachment's ID.
  ///
  /// TCMU names are shorter; that limit belongs to that transport.
  public static let attachmentIDBytes = 64

  // Images

  /// Bytes in a `config.v1.json`.
  public static let imageConfigBytes = 4 << 20
  /// Layers in a stack, the upper included in none of them (upstream: the tag is a u8).
  public static let layersInStack = 255
  /// Layers that are opened at the same time (upstream: PARALLEL_LOAD_INDEX).
  public static let parallelLayerOpens = 32
  /// Bytes of a volume: what 50 bits of sectors can address.
  public static let volumeBytes: UInt64 = 1 << 59

  // LSMT

  /// Index entries of one read-only layer, padding included.
  ///
  /// Upstream refuses more than 1,000,000 since 2025; its older releases wrote and read more, so we read four
  /// times that.
  public static let segmentsInLayer = 4_000_000
  /// Entries in the log of a writable layer's index.
  public static let segmentsInIndexLog = 16_000_000
  /// Index entries of all layers of a stack together, a layer that is named twice counted twice, and segments of the
  /// merged stack.
  ///
  /// 512 MiB of memory for the entries, as much for the merged segments, and while they are merged once more.
  public static let segmentsInStack = 32_000_000
  /// Bytes read in one step while an index is loaded.
  public static let indexReadBytes = 1 << 20

  // ZFile

  /// Blocks in a ZFile: 1 TiB of 4 KiB blocks; its table takes as many bytes as the index in the file.
  public static let blocksInZFile: UInt64 = 256 << 20
  /// Blocks in the ZFiles of a stack together, with tables of 1 GiB.
  public static let blocksInStack: UInt64 = 256 << 20
  /// Compressed bytes fetched in one step.
  public static let zfileBatchBytes = 64 << 10

  // Tar envelope

  /// Bytes of the PAX records in front of a layer.
  public static let paxHeaderBytes = 64 << 10
  /// Headers in front of a layer in its tar, its own among them: PAX records and long names.
  public static let tarHeaders = 8

  // Gzip index

  /// Entries in a gzip index: 1 TiB at the tools' span of 1 MiB.
  public static let gzipIndexEntries = 1 << 20
  /// Entries in the gzip indexes of a stack together: 128 MiB of memory.
  public static let gzipIndexEntriesInStack: UInt64 = 4 << 20
  /// Bytes of a gzip index's entry array, stored.
  public static let gzipIndexBytes = 32 << 20
  /// Bytes of decoded content kept per gzip file.
  public static let gzipCacheBytes = 32 << 20
  /// Bytes of decoded content kept for all gzip files of a stack, where that leaves each of them 2 MiB.
  public static let gzipCacheBytesInStack = 256 << 20

  // Between processes

  /// Bytes of a message between manager and data server: a configuration as JSON in JSON, and more.
  public static let messageBytes = 4 * imageConfigBytes
  /// Requests to a data server that wait for its answer: no more are sent to one that gives none.
  public static let pendingServerRequests = 64
  /// Bytes of a journal's log that are looked through for damage: some thousand times what it grows to.
  public static let journalLogBytes = 256 << 20
  /// Bytes of the file in which another process says why it could not open an image, as far as it is shown.
  public static let resultFileBytes = 4096
  /// Bytes of a request's body at the manager's interface.
  public static let requestBodyBytes = 64 << 10
  /// Connections to the manager's API at one time; fewer if it may have few files open.
  public static let apiConnections = 256
  /// How long a connection to the API may say nothing, or not finish what it has begun to say.
  public static let apiIdleTime = Duration.seconds(10)
  /// Open files without which a manager cannot do anything.
  public static let minimumOpenFiles = 32
  /// Descriptors that the manager keeps for its own use, of those that it may have.
  public static let descriptorsKept = 48

  // Handlers

  /// Bytes of a handler's subtype: it becomes the last part of a bus name, which has at most 255.
  public static let handlerSubtypeBytes = 63
  /// Bytes of what a handler says of itself.
  public static let handlerDescriptionBytes = 64 << 10
  /// Files in a directory of handlers that are looked at.
  public static let handlersInDirectory = 256

  // SCSI

  /// Bytes that one WRITE SAME may write: what is done well within a command's time limit.
  public static let writeSameBytes = 64 << 20
  /// Logical blocks that one UNMAP may give back.
  public static let unmapBlocks = 1 << 20
  /// Ranges in one UNMAP.
  public static let unmapDescriptors = 256
  /// Bytes made zeros in one step of a longer command, which can be cancelled between two.
  public static let zeroingBytes: UInt64 = 64 << 20
  /// Bytes that PRE-FETCH reads ahead of time; more than that is not fetched.
  public static let prefetchBytes = 16 << 20
  /// Bytes of a list of mode parameters.
  public static let modeParameterBytes = 512
  /// Devices named by one EXTENDED COPY.
  public static let copyTargets = 16
  /// Segments of one EXTENDED COPY.
  public static let copySegments = 256
  /// Bytes of the descriptors of one EXTENDED COPY: so many devices and segments, and one more of each.
  public static let copyDescriptorBytes = (copyTargets + 1) * 32 + (copySegments + 1) * 28
  /// Copies whose results are kept for RECEIVE COPY RESULTS.
  public static let copyResults = 16

  // D-Bus and tcmu.conf

  /// Bytes in the description of a handler's configuration string, as the bus carries it.
  public static let handlerSummaryBytes = 4096
  /// Bytes in what a handler says of a configuration string.
  public static let handlerMessageBytes = 1024
  /// Handlers of other processes.
  public static let externalHandlers = 64
  /// Calls over the bus that wait for an answer.
  public static let pendingBusCalls = 64
  /// Bytes in a `tcmu.conf`.
  public static let tcmuConfBytes = 64 << 10

  // Threads

  /// Requests of one disk, or jobs of one kind, that wait in system calls at a time; what comes then waits for its turn.
  public static let waitingThreads = 64
  /// Steps of a whole process that wait in system calls at a time: of a manager, for thousands of disks.
  public static let waitingSteps = 1024
  /// Attachments of a manager that do something at a time.
  public static let actorThreads = 4096
  /// Files of images that a manager looks at at a time; what comes then is refused.
  public static let fileLooks = 1024
  /// How long a manager that starts waits for its sandboxes to be taken over before it answers.
  public static let recoveryTime = Duration.seconds(5)
  /// How long an attachment may take to say what there is to say of it.
  public static let infoTime = Duration.seconds(5)
  /// How long a file of an image may take to be looked at.
  public static let lookTime = Duration.seconds(20)
  /// How long what others have on their file systems may take to be looked at.
  public static let neighbourLookTime = Duration.seconds(2)
  /// The same behind one that has taken longer: many of one dead mount are not to take a multiple of it.
  public static let laterNeighbourLookTime = Duration.milliseconds(200)
  /// Requests about sandboxes and volumes at a time that change something; what comes then is refused.
  public static let waitingVerbs = 512

  // Transports

  /// Bytes in one request from a transport.
  public static let requestBytes = 1 << 20
  /// Requests that one queue may have waiting in the second phase.
  public static let waitingRequestsPerQueue = 64

  // TCMU

  /// Pieces of memory that one command's data may be in: 64 MiB in pages of 4 KiB.
  public static let piecesPerCommand = 16384
  /// Bytes in a backstore's `dev_config` (`TCMU_CONFIG_LEN` of the kernel, less its NUL).
  public static let backstoreConfigBytes = 255
  /// Bytes in an ID that becomes the name of a loopback target: what is left of 16 digits.
  public static let targetIDBytes = 13
  /// Bytes of a backstore's command ring and data area together.
  public static let ringBytes = 8 << 30
  /// Bytes that the kernel may queue for us in events: a burst of some thousand devices.
  public static let eventBufferBytes = 4 << 20

  // Device-mapper

  /// Bytes of an answer of device-mapper that are tried first.
  public static let deviceMapperFirstBytes = 16 << 10
  /// Bytes of an answer of device-mapper: 100,000 devices of the longest name.
  public static let deviceMapperBytes = 16 << 20
  /// Lines of a device-mapper table.
  public static let deviceMapperTargets = 4096
  /// Bytes in a device's name (`DM_NAME_LEN` of the kernel, less its NUL).
  public static let deviceMapperNameBytes = 127
  /// Bytes in a device's UUID (`DM_UUID_LEN`, less its NUL).
  public static let deviceMapperUUIDBytes = 128
  /// Bytes of one target's parameters or status.
  public static let deviceMapperParameterBytes = 4096

  // Sandboxes

  /// Bytes in a sandbox's name.
  public static let sandboxNameBytes = 64
  /// Bytes of a sandbox's disk: 64 TiB.
  public static let sandboxBytes: UInt64 = 64 << 40
  /// Bytes of a thin pool's metadata: what the kernel can use (dm-thin-metadata.h).
  public static let thinMetadataBytes: UInt64 = 255 * ((1 << 14) - 64) * 4096
  /// Events that a manager remembers.
  public static let sandboxEvents = 256
}
