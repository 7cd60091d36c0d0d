import neostandard, { resolveIgnoresFromGitignore } from 'neostandard'

// The folders of lib, each with those that it may import from: edges run one way. `endpoint` and `cluster`
// do not know each other; they meet in contracts that `http` owns.
const layers = {
  base: [],
  observe: ['base'],
  session: ['base', 'observe'],
  http: ['base', 'observe', 'session'],
  endpoint: ['base', 'observe', 'session', 'http'],
  cluster: ['base', 'observe', 'session', 'http'],
  telemetry: ['base', 'observe', 'session'],
  plugin: ['base', 'observe', 'session', 'http', 'endpoint', 'cluster', 'telemetry'],
  testing: ['base', 'session', 'http'],
  dashboard: ['base', 'observe', 'session', 'http']
}

// What a folder does not know of, beside the other folders.
const strangers = {
  base: ['fastify', '@modelcontextprotocol/', 'ioredis'],
  observe: ['fastify', '@modelcontextprotocol/', 'ioredis'],
  session: ['fastify', '@modelcontextprotocol/', 'ioredis'],
  http: ['@modelcontextprotocol/', 'ioredis'],
  endpoint: ['ioredis'],
  cluster: ['@modelcontextprotocol/'],
  telemetry: ['fastify', '@modelcontextprotocol/', 'ioredis'],
  plugin: ['@modelcontextprotocol/', 'ioredis'],
  testing: ['ioredis'],
  dashboard: ['@modelcontextprotocol/', 'ioredis']
}

// Folders within one, each with those beside it that it may import from.
const rooms = {
  'endpoint/transport': [],
  'endpoint/modern': ['transport']
}

function keepRoom ([room, others]) {
  const [folder] = room.split('/')
  return { ...keepLayer(folder, others), files: [`lib/${room}/**/*.ts`] }
}

function keepLayer (folder, others = []) {
  const allowed = [folder, ...layers[folder], ...others].join('|')
  return {
    files: [`lib/${folder}/**/*.ts`],
    rules: {
      'no-restricted-imports': ['error', {
        patterns: [
          { regex: `^(\\.\\./)+(?!(${allowed})/)[a-z]+/`, message: `lib/${folder} imports from ${[folder, ...layers[folder]].join(', ')} only: see eslint.config.js` },
          { regex: '^(\\.\\./)+index\\.js$', message: 'index.ts is for those who use the package' },
          ...strangers[folder].map((name) => ({ regex: `^${name}`, message: `lib/${folder} does not know ${name}` }))
        ]
      }]
    }
  }
}

export default [
  ...neostandard({ ts: true, noJsx: true, ignores: resolveIgnoresFromGitignore() }),
  {
    files: ['**/*.ts'],
    rules: {
      '@typescript-eslint/no-explicit-any': 'error'
    }
  },
  ...Object.keys(layers).map((folder) => keepLayer(folder)),
  ...Object.entries(rooms).map(keepRoom),
  {
    files: ['lib/dashboard/page/*.js'],
    languageOptions: { globals: { EventSource: 'readonly', ResizeObserver: 'readonly' } }
  },
  {
    files: ['lib/*.ts'],
    rules: {
      'no-restricted-syntax': ['error', { selector: 'Program', message: 'A file of lib belongs into one of its folders' }]
    }
  }
]
