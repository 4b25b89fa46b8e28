import ArgumentParser
import FoundationEssentials

/// Options that were given twice, of which the parser takes the last one: what the first one asked for would be left
/// undone without a word.
enum RepeatedOptions {
  /// Looks for one.
  ///
  /// - Parameters:
  ///   - arguments: The call's.
  ///   - root: The command, which is asked what its options are if something is there twice at all.
  /// - Returns: Its name, with dashes; `nil` if there is none. Flags do not count.
  static func first(in arguments: [String], of root: (some ParsableCommand).Type) -> String? {
    var seen: Set<Substring> = []
    var twice: [Substring] = []
    for argument in arguments.prefix(while: { $0 != "--" }) where argument.hasPrefix("--") {
      let name = argument.dropFirst(2).prefix { $0 != "=" }
      if !seen.insert(name).inserted { twice.append(name) }
    }
    guard !twice.isEmpty, let help = try? JSONDecoder().decode(Help.self, from: Data(root._dumpHelp().utf8))
    else { return nil }
    let options = help.command.options
    return twice.first { options.contains(String($0)) }.map { "--\($0)" }
  }

  /// What the parser says of a command, as far as it matters here.
  private struct Help: Decodable {
    let command: Command

    struct Command: Decodable {
      let arguments: [Argument]?
      let subcommands: [Command]?

      /// The names of what takes a value, here and below.
      var options: Set<String> {
        let own = (arguments ?? []).filter { $0.kind == "option" && !$0.isRepeating }
        let names = own.flatMap { ($0.names ?? []).map(\.name) }
        return (subcommands ?? []).reduce(Set(names)) { $0.union($1.options) }
      }
    }

    struct Argument: Decodable {
      let kind: String
      let isRepeating: Bool
      let names: [Name]?
    }

    struct Name: Decodable {
      let name: String
    }
  }
}
