import { mock } from 'node:test'
import t from 'tap'
import { isAddressed, LocalAnnouncements, type Announcement } from '../../lib/http/announcements.js'
import { EventBus } from '../../lib/http/event-bus.js'
import { Notifier } from '../../lib/http/notifier.js'

function updated (uri: string): Announcement {
  return { change: { kind: 'resource_updated', uri }, audience: {} }
}

function create (): { announcements: LocalAnnouncements, errors: Error[] } {
  const errors: Error[] = []
  return { announcements: new LocalAnnouncements((error) => errors.push(error)), errors }
}

t.test('all who listen hear of it, until they stop', async (t) => {
  const { announcements } = create()
  const heard: Announcement[] = []
  const listener = (announcement: Announcement): void => { heard.push(announcement) }
  const stops = [announcements.subscribe(listener), announcements.subscribe(listener)]
  announcements.publish(updated('a:1'))
  stops[0]?.()
  announcements.publish(updated('a:2'))
  stops[1]?.()
  announcements.publish(updated('a:3'))
  t.strictSame(heard, [updated('a:1'), updated('a:1'), updated('a:2')])
})

t.test('a listener that fails does not keep others from hearing', async (t) => {
  const { announcements, errors } = create()
  const heard: Announcement[] = []
  announcements.subscribe(() => { throw new Error('deaf') })
  announcements.subscribe((announcement) => heard.push(announcement))
  announcements.publish(updated('a:1'))
  t.equal(heard.length, 1)
  t.match(errors, [{ message: 'deaf' }])
})

t.test('what was announced of late is remembered, each once, for half a minute', async (t) => {
  mock.timers.enable({ apis: ['Date'] })
  t.teardown(() => mock.timers.reset())
  const { announcements } = create()
  for (const uri of ['a:1', 'a:2', 'a:1']) announcements.publish(updated(uri))
  t.strictSame(announcements.recent(), [updated('a:2'), updated('a:1')])
  mock.timers.tick(29_999)
  announcements.publish(updated('a:2'))
  t.equal(announcements.recent().length, 2)
  mock.timers.tick(1)
  t.strictSame(announcements.recent(), [updated('a:2')])
})

t.test('no more than a thousand are remembered', async (t) => {
  const { announcements } = create()
  for (let count = 0; count < 1005; count++) announcements.publish(updated(`a:${count}`))
  t.equal(announcements.recent().length, 1000)
  t.strictSame(announcements.recent()[0], updated('a:5'))
})

t.test('an audience is everybody, a session, or a principal', async (t) => {
  const who = { session: 'one', principal: 'ann' }
  t.ok(isAddressed({}, who))
  t.ok(isAddressed({}, {}))
  t.ok(isAddressed({ session: 'one' }, who))
  t.notOk(isAddressed({ session: 'two' }, who))
  t.notOk(isAddressed({ session: 'one' }, { principal: 'ann' }))
  t.ok(isAddressed({ principal: 'ann' }, who))
  t.notOk(isAddressed({ principal: 'bob' }, who))
  t.notOk(isAddressed({ session: 'one', principal: 'bob' }, who))
})

t.test('a notifier has a method for each change', async (t) => {
  const { announcements } = create()
  const heard: Announcement[] = []
  announcements.subscribe((announcement) => heard.push(announcement))
  const notify = new Notifier(announcements)
  notify.toolsChanged()
  notify.toolsListChanged({ session: 'one' })
  notify.promptsChanged({ principal: 'ann' })
  notify.promptsListChanged()
  notify.resourcesChanged()
  notify.resourcesListChanged()
  notify.resourceUpdated('a:1', { principal: 'ann' })
  t.strictSame(heard, [
    { change: { kind: 'tools_list_changed' }, audience: {} },
    { change: { kind: 'tools_list_changed' }, audience: { session: 'one' } },
    { change: { kind: 'prompts_list_changed' }, audience: { principal: 'ann' } },
    { change: { kind: 'prompts_list_changed' }, audience: {} },
    { change: { kind: 'resources_list_changed' }, audience: {} },
    { change: { kind: 'resources_list_changed' }, audience: {} },
    { change: { kind: 'resource_updated', uri: 'a:1' }, audience: { principal: 'ann' } }
  ])
})

t.test('a notifier refuses what would be for everybody by mistake', async (t) => {
  const notify = new Notifier(create().announcements)
  const misspelt: object = { principle: 'ann' }
  const nobody: object = Object(null)
  t.throws(() => notify.toolsChanged(misspelt), { message: 'Unknown option "audience.principle": did you mean "audience.principal"?' })
  for (const audience of [{ principal: undefined }, { session: undefined, principal: 'ann' }, { principal: JSON.parse('5') }]) {
    t.throws(() => notify.toolsChanged(audience), { name: 'TypeError', message: /^Option "audience\.(principal|session)" must be a string \(left out: everybody\), got/ })
  }
  t.doesNotThrow(() => notify.toolsChanged(nobody))
  // @ts-expect-error a session is not an audience
  t.throws(() => notify.toolsChanged('one'), { message: /Option "audience" must be an object/ })
  // @ts-expect-error
  t.throws(() => notify.toolsChanged(null), { message: /Option "audience" must be an object/ })
  // @ts-expect-error
  t.throws(() => notify.resourceUpdated(), { message: /Option "uri" must be the URI of a resource/ })
})

t.test('a bus tells what is published, and what was of late, to those whom it is for', async (t) => {
  const { announcements } = create()
  const bus = new EventBus(announcements)
  const notify = new Notifier(announcements)
  notify.resourceUpdated('before')
  notify.resourceUpdated('of bob', { principal: 'bob' })
  const heard: unknown[] = []
  const end = await bus.listenAs('ann', async () => {
    await Promise.resolve()
    return bus.subscribe((change) => heard.push(change))
  })
  t.strictSame(heard, [], 'nothing before the subscription has been acknowledged')
  await new Promise((resolve) => setImmediate(resolve))
  bus.publish({ kind: 'tools_list_changed' })
  notify.promptsChanged({ principal: 'bob' })
  notify.promptsChanged({ principal: 'ann' })
  notify.promptsChanged({ session: 'one' })
  const all = [{ kind: 'resource_updated', uri: 'before' }, { kind: 'tools_list_changed' }, { kind: 'prompts_list_changed' }]
  t.strictSame(heard, all)
  end()
  bus.publish({ kind: 'tools_list_changed' })
  t.strictSame(heard, all)
})

t.test('who has stopped listening hears nothing of what was', async (t) => {
  const { announcements } = create()
  const bus = new EventBus(announcements)
  bus.publish({ kind: 'tools_list_changed' })
  const heard: unknown[] = []
  bus.subscribe((change) => heard.push(change))()
  await new Promise((resolve) => setImmediate(resolve))
  t.strictSame(heard, [])
})
