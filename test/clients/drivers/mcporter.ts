import { createRuntime } from 'mcporter'
import { drive, readText } from './drive.js'

drive(async (url) => {
  const runtime = await createRuntime({ servers: [{ name: 's', command: { kind: 'http', url: new URL(url) } }] })
  const list = async (): Promise<string[]> => (await runtime.listTools('s')).map(({ name }) => name)
  await list()
  return {
    list,
    call: async (name, args) => readText(await runtime.callTool('s', name, { args })),
    close: () => runtime.close()
  }
})
