// swift-tools-version: 6.2
import PackageDescription

/// Every target of ours: Swift 6 mode, and a warning is an error.
let strict: [SwiftSetting] = [
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

/// A C library of the system, found by pkg-config and named by its Debian package.
func system(_ name: String, _ pkgConfig: String, apt: String) -> Target {
  .systemLibrary(name: name, path: "Sources/\(name)", pkgConfig: pkgConfig, providers: [.apt([apt])])
}

func room(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: strict)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  // A test imports what it names; what it sees of a result's members comes with that.
  .testTarget(
    name: name, dependencies: dependencies,
    swiftSettings: [
      .treatAllWarnings(as: .error), .enableUpcomingFeature("ExistentialAny"),
      .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    ])
}

let system_: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")
let argumentParser: Target.Dependency = .product(
  name: "ArgumentParser", package: "swift-argument-parser")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")

let package = Package(
  name: "ashlar",
  products: [
    .library(
      name: "Ashlar",
      targets: [
        "BlockCore", "LinuxIO", "OverlayBD", "DiskFormats", "Images", "Attachments", "DeviceMapper",
        "Volumes", "Sandboxes",
      ]),
    .executable(name: "ashlar", targets: ["ashlar"]),
    .executable(name: "ashlard", targets: ["ashlard"]),
    // For handlers in Swift, which are programs of their own, and for those in shared objects.
    .library(name: "AshlarHandlers", targets: ["BlockCore", "LinuxIO", "Handlers", "AshlarHandlers"]),
    .executable(name: "ashlar-handler", targets: ["ashlar-handler"]),
    .library(name: "ashlar-tcmu-runner", type: .dynamic, targets: ["CTCMURunner"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.0"),
    .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    .package(
      url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.0", traits: []),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
  ],
  targets: [
    // C: what Swift cannot express, and the field's own libraries.
    .target(name: "CLinux"),
    system("CFuse", "fuse3", apt: "libfuse3-dev"),
    system("CLZ4", "liblz4", apt: "liblz4-dev"),
    system("CZstd", "libzstd", apt: "libzstd-dev"),
    system("CZlib", "zlib", apt: "zlib1g-dev"),
    system("CISAL", "libisal", apt: "libisal-dev"),
    system("CBlkid", "blkid", apt: "libblkid-dev"),
    system("CNetlink", "libnl-genl-3.0", apt: "libnl-genl-3-dev"),
    system("CSystemd", "libsystemd", apt: "libsystemd-dev"),
    system("CDevMapper", "devmapper", apt: "libdevmapper-dev"),
    system("CCrypto", "libcrypto", apt: "libssl-dev"),

    room("BlockCore", [system_]),
    room("BlockSim", ["BlockCore", system_]),
    room("LinuxIO", ["CLinux", "BlockCore", system_]),
    room("OverlayBD", ["BlockCore", "CLZ4", "CZstd", "CZlib", "CISAL"]),
    room("Hashing", ["CCrypto", "BlockCore"]),
    room("DiskFormats", ["BlockCore", "Hashing"]),
    room("TransportFUSE", ["CLinux", "CFuse", "BlockCore", "LinuxIO", system_]),
    room("SCSI", ["BlockCore"]),
    room("TransportTCMU", ["CLinux", "CNetlink", "BlockCore", "LinuxIO", "SCSI", system_]),
    .target(name: "CAshlarHandler"),
    .target(name: "CTCMURunner", dependencies: ["CAshlarHandler"]),
    room("Handlers", ["CAshlarHandler", "BlockCore", "LinuxIO", "SCSI", system_]),
    room("AshlarHandlers", ["BlockCore", "LinuxIO", "Handlers", "DataServer", logging]),
    room("TCMUService", ["CSystemd", "BlockCore", "LinuxIO", system_, logging]),
    room("DeviceMapper", ["CLinux", "CDevMapper", "BlockCore", "LinuxIO", system_]),
    room("Volumes", ["CLinux", "BlockCore", "Hashing", "LinuxIO", "DiskFormats", "DeviceMapper", system_]),
    room("Attachments", ["CLinux", "BlockCore", "LinuxIO", system_]),
    room(
      "DataServer",
      [
        "CLinux", "BlockCore", "Hashing", "LinuxIO", "DiskFormats", "Images", "SCSI", "TransportFUSE",
        "TransportTCMU", "Attachments", "Handlers", logging,
      ]),
    room("Journals", ["BlockCore", "LinuxIO", system_, .product(name: "GRDB", package: "GRDB.swift")]),
    room(
      "Engine",
      [
        "CLinux", "BlockCore", "LinuxIO", "Images", "TransportTCMU", "Attachments", "Journals", system_,
        logging,
        .product(name: "GRDB", package: "GRDB.swift"),
      ]),
    room(
      "Sandboxes",
      [
        "CLinux", "BlockCore", "Hashing", "LinuxIO", "DiskFormats", "Images", "DeviceMapper", "Attachments",
        "Journals", system_, logging, .product(name: "GRDB", package: "GRDB.swift"),
      ]),
    room(
      "ControlAPI",
      [
        "BlockCore", "LinuxIO", "Images", "Attachments", "Engine", "Sandboxes", "Volumes", logging,
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "HummingbirdCore", package: "hummingbird"),
        .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOHTTP1", package: "swift-nio"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
      ]),
    room(
      "ControlClient",
      [
        "BlockCore", "LinuxIO", "Attachments", .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"), .product(name: "NIOHTTP1", package: "swift-nio"),
      ]),
    .executableTarget(
      name: "ashlard",
      dependencies: [
        "BlockCore", "LinuxIO", "Images", "Handlers", "Attachments", "Engine", "Sandboxes", "Volumes",
        "ControlAPI", "DataServer", "TCMUService", logging, argumentParser,
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "UnixSignals", package: "swift-service-lifecycle"),
      ], swiftSettings: strict),
    .executableTarget(
      name: "ashlar-handler", dependencies: ["BlockCore", "Handlers", "AshlarHandlers"], swiftSettings: strict
    ),
    .executableTarget(
      name: "ashlar",
      dependencies: [
        "CLinux", "CBlkid", "BlockCore", "LinuxIO", "Images", "Attachments", "ControlClient",
        "DeviceMapper", "Volumes", "TransportTCMU", argumentParser, system_,
        .product(name: "UnixSignals", package: "swift-service-lifecycle"),
      ], swiftSettings: strict),
    .executableTarget(
      name: "ashlar-bench",
      dependencies: ["BlockCore", "BlockSim", "LinuxIO", "OverlayBD", "Images", "TestKit", argumentParser],
      swiftSettings: strict),
    room("TestKit", ["BlockCore", "BlockSim", "LinuxIO", "OverlayBD", "Images", "CLZ4", "CZstd", "CISAL"]),
    room("Images", ["BlockCore", "OverlayBD", "DiskFormats", system_]),

    tests("BlockCoreTests", ["BlockCore", "BlockSim", "TestKit", system_]),
    tests(
      "EngineTests",
      [
        "BlockCore", "LinuxIO", "Attachments", "Journals", "Engine", "Sandboxes", "TestKit", logging,
        .product(name: "GRDB", package: "GRDB.swift"),
      ]),
    tests("TidyTests", ["TestKit"]),
    tests(
      "HandlerTests",
      [
        "BlockCore", "BlockSim", "LinuxIO", "Attachments", "SCSI", "Handlers", "TestKit",
        "ashlar-handler", system_,
      ]),
    tests("TCMUServiceTests", ["BlockCore", "LinuxIO", "TCMUService", "TestKit", logging]),
    .target(name: "CFlushFault"),
    tests("LinuxIOTests", ["CFlushFault", "BlockCore", "BlockSim", "LinuxIO", "TestKit"]),
    tests("DataServerTests", ["BlockCore", "BlockSim", "LinuxIO", "Attachments", "DataServer", "TestKit"]),
    .target(name: "CAllocationCount"),
    tests(
      "TransportTests",
      [
        "CAllocationCount", "CLinux", "BlockCore", "BlockSim", "LinuxIO", "OverlayBD", "DiskFormats",
        "TransportFUSE", "TestKit",
      ]),
    tests("SCSITests", ["CAllocationCount", "BlockCore", "BlockSim", "SCSI", "TestKit"]),
    tests(
      "EndToEndTests",
      [
        "CLinux", "BlockCore", "LinuxIO", "Attachments", "TestKit", "ashlar", "ashlard",
        .product(name: "GRDB", package: "GRDB.swift"),
      ]),
    tests(
      "TCMUTests",
      [
        "CAllocationCount", "CNetlink", "BlockCore", "BlockSim", "LinuxIO", "DiskFormats", "SCSI",
        "TransportTCMU", "TestKit",
      ]),
    tests(
      "DiskFormatsTests",
      ["BlockCore", "BlockSim", "Hashing", "LinuxIO", "DiskFormats", "Volumes", "TestKit"]),
    tests("DeviceMapperTests", ["CDevMapper", "BlockCore", "LinuxIO", "DeviceMapper", "TestKit"]),
    .executableTarget(
      name: "DeviceMapperCheck", dependencies: ["CLinux", "BlockCore", "LinuxIO", "DeviceMapper", system_],
      path: "Tests/Kernel/DeviceMapperCheck", swiftSettings: strict),
    .executableTarget(
      name: "ashlar-stress", dependencies: ["BlockSim", "TestKit", argumentParser], path: "Tests/Stress",
      exclude: ["devicemapper.c", "mutex.c"], swiftSettings: strict),
    tests("ImagesTests", ["BlockCore", "BlockSim", "LinuxIO", "OverlayBD", "Images", "TestKit"]),
    tests("OverlayBDTests", ["BlockCore", "BlockSim", "LinuxIO", "OverlayBD", "Images", "TestKit"]),
  ],
  swiftLanguageModes: [.v6]
)

// The fuzz targets have no main function of their own (libFuzzer brings it), so they are part of the package
// only for scripts/fuzz.
if Context.environment["ASHLAR_FUZZ"] != nil {
  package.targets.append(
    .target(
      name: "FuzzKit", dependencies: ["BlockCore", "BlockSim", "CISAL"], path: "Fuzz/FuzzKit",
      swiftSettings: strict))
  for parser in ["LSMT", "ZFile", "Tar", "Gzip", "Config", "SCSI", "Handler"] {
    package.targets.append(
      .executableTarget(
        name: "Fuzz\(parser)",
        dependencies: ["FuzzKit", "BlockCore", "BlockSim", "OverlayBD", "Images", "SCSI", "Handlers"],
        path: "Fuzz/Fuzz\(parser)",
        swiftSettings: strict))
  }
  for parser in ["DMTable", "Volume"] {
    package.targets.append(
      .executableTarget(
        name: "Fuzz\(parser)",
        dependencies: ["FuzzKit", "BlockCore", "BlockSim", "Hashing", "DiskFormats", "DeviceMapper"],
        path: "Fuzz/Fuzz\(parser)", swiftSettings: strict))
  }
  package.targets.append(
    .executableTarget(
      name: "FuzzTCMURing", dependencies: ["FuzzKit", "BlockCore", "SCSI", "TransportTCMU"],
      path: "Fuzz/FuzzTCMURing", swiftSettings: strict))
  package.targets.append(
    .executableTarget(
      name: "FuzzTCMUConf", dependencies: ["FuzzKit", "BlockCore", "TCMUService"], path: "Fuzz/FuzzTCMUConf",
      swiftSettings: strict))
}
