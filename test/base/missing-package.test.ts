import t from 'tap'
import { explainMissing } from '../../lib/base/missing-package.js'

t.test('names the option, the package and the way to get it', async (t) => {
  const cause = new Error('Cannot find package')
  await t.rejects(Promise.reject(cause).catch(explainMissing('telemetry', 'some-package')), {
    name: 'TypeError', message: 'Option "telemetry" needs the package some-package: npm install some-package', cause
  })
})
