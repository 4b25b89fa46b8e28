// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "mirror-handler",
  dependencies: [
    // In a project of its own: .package(url: "https://…/ashlar", from: "…").
    .package(name: "ashlar", path: "../..")
  ],
  targets: [
    // The program has a handler's name, so that it is found in the directory of the handlers.
    .executableTarget(
      name: "ashlar_handler_mirror",
      dependencies: [.product(name: "AshlarHandlers", package: "ashlar")],
      // A request and its workspace stay with the task that serves it, as in Ashlar's own volumes.
      swiftSettings: [.enableUpcomingFeature("NonisolatedNonsendingByDefault")])
  ],
  swiftLanguageModes: [.v6]
)
