/** A schema that can say what it is as JSON Schema: what tools of SDK 2 take. See https://standardschema.dev/json-schema */
export interface JsonConvertibleSchema {
  readonly '~standard': { readonly jsonSchema: { readonly input: SchemaConverter, readonly output: SchemaConverter } }
}

/** Makes JSON Schema of one side of a schema: of what goes in, or of what comes out. */
export type SchemaConverter = (options: SchemaConverterOptions) => Record<string, unknown>

/** The options of a converter of Standard JSON Schema. */
export interface SchemaConverterOptions {
  /** The dialect of JSON Schema. */
  readonly target: string
  readonly libraryOptions?: Record<string, unknown> | undefined
}

const memoised = new WeakMap<object, object>()

/**
 * The same schema, which is converted to JSON Schema once and not for each server: SDK 2 does it with each `tools/list`
 * for all tools, and for clients of 2026-07-28 with each `tools/call` for the tool that is called. Call it once per schema, outside of `createServer`.
 *
 * What is shared is frozen.
 *
 * @throws TypeError for a schema that cannot say what it is as JSON Schema, such as one of zod before 4.2
 * @example
 * ```ts
 * const note = memoiseSchema(z.object({ text: z.string() }))
 *
 * function createServer () {
 *   const server = new McpServer({ name: 'notes', version: '1.0.0' })
 *   server.registerTool('note', { inputSchema: note }, ({ text }) => save(text))
 *   return server
 * }
 * ```
 */
export function memoiseSchema<S extends JsonConvertibleSchema> (schema: S): S {
  const known = memoised.get(schema)
  // What is kept for a schema is its heir.
  if (known !== undefined) return Object(known)
  const { '~standard': standard }: JsonConvertibleSchema = schema
  if (!('jsonSchema' in standard)) {
    throw new TypeError('memoiseSchema() takes a schema that implements Standard JSON Schema (`~standard.jsonSchema`), as those of zod do from 4.2.0 on')
  }
  const { input, output } = standard.jsonSchema
  // It has all that the library and the app find on a schema.
  const heir: S = Object.create(schema, {
    '~standard': { value: { ...standard, jsonSchema: { input: memoise(input), output: memoise(output) } } }
  })
  memoised.set(schema, heir).set(heir, heir)
  return heir
}

function memoise (convert: SchemaConverter): SchemaConverter {
  const made = new Map<string, Record<string, unknown>>()
  return (options) => {
    // Whose meaning nobody but the library knows.
    if (options.libraryOptions !== undefined) return convert(options)
    const json = made.get(options.target) ?? freeze(convert(options))
    made.set(options.target, json)
    return json
  }
}

function freeze<T extends object> (value: T): T {
  Object.freeze(value)
  for (const member of Object.values(value)) {
    if (typeof member === 'object' && member !== null && !Object.isFrozen(member)) freeze(member)
  }
  return value
}
