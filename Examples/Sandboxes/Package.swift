// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "clones",
  dependencies: [
    // In a project of its own: .package(url: "https://…/ashlar", from: "…").
    .package(name: "ashlar", path: "../.."),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
  ],
  targets: [
    .executableTarget(
      name: "clones",
      dependencies: [
        .product(name: "Ashlar", package: "ashlar"), .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: [.enableUpcomingFeature("NonisolatedNonsendingByDefault")])
  ],
  swiftLanguageModes: [.v6]
)
