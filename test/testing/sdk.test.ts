import { Client as Client2 } from '@modelcontextprotocol/client'
import { Client as Client1 } from '@modelcontextprotocol/sdk/client/index.js'
import t from 'tap'
import { createClient, createClient1, createClient2, firstInstalled } from '../../lib/testing/sdk.js'

async function notInstalled (): Promise<never> {
  throw Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' })
}

t.test('a client is of SDK 1 where that is installed, and of SDK 2 otherwise', async (t) => {
  t.ok(await createClient() instanceof Client1)
  t.ok(await createClient1() instanceof Client1)
  t.ok(await createClient2() instanceof Client2)
  t.ok(await firstInstalled([notInstalled, createClient2]) instanceof Client2)
})

t.test('without any, the error says what to install', async (t) => {
  await t.rejects(firstInstalled([notInstalled, notInstalled]), { message: /^Install @modelcontextprotocol\/sdk or @modelcontextprotocol\/client/ })
})

t.test('an SDK that is there and broken is not passed over', async (t) => {
  const broken = async (): Promise<never> => { throw new Error('broken') }
  await t.rejects(firstInstalled([broken, createClient2]), new Error('broken'))
})
