import BlockCore
import Dispatch
import LinuxIO
import Synchronization
import Testing

/// What is looked at and never answers holds up nobody.
@Suite struct BoundedLooksTests {
  @Test func whatDoesNotAnswerIsPassedOverUntilItDoes() {
    let gate = DispatchSemaphore(value: 0)
    let asked = Mutex<[String]>([])
    let name = "dead \(UInt64.random(in: 0 ... .max))"
    @Sendable func look(_ item: String) -> Int {
      asked.withLock { $0.append(item) }
      if item == name { gate.wait() }
      return item.utf8.count
    }
    func looks() -> [Int?] {
      BoundedLooks.each(["a", name, "bcd"], within: .milliseconds(100), key: \.self, look)
    }
    #expect(looks() == [1, nil, 3])
    // It is not asked again: each time would cost a thread.
    #expect(looks() == [1, nil, 3])
    #expect(asked.withLock { $0.filter { $0 == name }.count } == 1)
    gate.signal()
    gate.signal()
    while looks()[1] == nil {}
    #expect(asked.withLock { $0.filter { $0 == name }.count } == 2)
  }

  @Test func theResultsStandInOrder() {
    let numbers = Array(0..<1000)
    #expect(BoundedLooks.each(numbers, key: { "number \($0)" }) { $0 * 2 } == numbers.map { $0 * 2 })
    #expect(BoundedLooks.each([Int](), key: { "number \($0)" }) { $0 }.isEmpty)
  }
}
