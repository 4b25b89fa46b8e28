import AshlarHandlers
import BlockCore
import Glibc
import Handlers

/// Serves the disks of a handler in a shared object: `--plugin PATH`, and then what `HandlerProgram` takes.
let arguments = Array(CommandLine.arguments.dropFirst())
guard arguments.count >= 2, arguments[0] == "--plugin" else {
  HandlerProgram.say(
    "usage: ashlar-handler --plugin PATH (--listener FD | --describe | --check CONFIGURATION)\n",
    to: STDERR_FILENO)
  exit(64)
}
HandlerProgram.checkArguments()
HandlerProgram.keepAnswersApart()
let handler: ForeignHandler
do throws(BlockError) {
  handler = try HandlerLibrary.load(arguments[1])
} catch {
  HandlerProgram.answer("\(error)\n")
  exit(1)
}
await HandlerProgram.run(handler, kind: handler.kind, Array(arguments.dropFirst(2)))
