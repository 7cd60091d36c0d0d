// What the suite expects a server to offer, as plain data: the server of sessions
// and the one for both eras are built with different SDKs from the same table.

import type { ElicitRequestFormParams } from '@modelcontextprotocol/server'

const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg=='
const WAV = 'UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA='

export const SERVER_INFO = { name: 'fastify-mcp-sessions-conformance', version: '1.0.0' }

export function text (value: string) {
  return { type: 'text' as const, text: value }
}

export function answer (value: string) {
  return { content: [text(value)] }
}

function message (content: ReturnType<typeof text> | typeof image | ReturnType<typeof embedded>) {
  return { role: 'user' as const, content }
}

function embedded (uri: string, mimeType: string, value: string) {
  return { type: 'resource' as const, resource: { uri, mimeType, text: value } }
}

const image = { type: 'image' as const, data: PNG, mimeType: 'image/png' }

/** Tools without arguments whose answer never changes. */
export const STATIC_TOOLS = [
  {
    name: 'test_simple_text',
    description: 'Answers with one text',
    result: answer('This is a simple text response for testing.')
  },
  {
    name: 'test_image_content',
    description: 'Answers with one image',
    result: { content: [image] }
  },
  {
    name: 'test_audio_content',
    description: 'Answers with one sound',
    result: { content: [{ type: 'audio' as const, data: WAV, mimeType: 'audio/wav' }] }
  },
  {
    name: 'test_embedded_resource',
    description: 'Answers with an embedded resource',
    result: { content: [embedded('test://embedded-resource', 'text/plain', 'This is an embedded resource content.')] }
  },
  {
    name: 'test_multiple_content_types',
    description: 'Answers with a text, an image and a resource',
    result: {
      content: [
        text('Multiple content types test:'),
        image,
        embedded('test://mixed-content-resource', 'application/json', '{"test":"data","value":123}')
      ]
    }
  }
]

export const FAILING_TOOL = {
  name: 'test_error_handling',
  description: 'Always fails',
  error: 'This tool intentionally returns an error for testing'
}

/** A schema that only survives if nobody rewrites it on the way to the client. */
export const SCHEMA_TOOL = {
  name: 'json_schema_2020_12_tool',
  description: 'Declares its input with JSON Schema 2020-12',
  inputSchema: {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    type: 'object' as const,
    $defs: {
      address: {
        $anchor: 'addressDef',
        type: 'object',
        properties: { street: { type: 'string' }, city: { type: 'string' } }
      }
    },
    properties: {
      name: { type: 'string' },
      address: { $ref: '#/$defs/address' },
      contactMethod: { type: 'string', enum: ['phone', 'email'] },
      phone: { type: 'string' },
      email: { type: 'string' }
    },
    allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
    if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
    then: { required: ['phone'] },
    else: { required: ['email'] },
    additionalProperties: false
  }
}

export const RESOURCES = [
  {
    name: 'static-text',
    uri: 'test://static-text',
    description: 'A text that never changes',
    mimeType: 'text/plain',
    contents: { text: 'This is the content of the static text resource.' }
  },
  {
    name: 'static-binary',
    uri: 'test://static-binary',
    description: 'An image that never changes',
    mimeType: 'image/png',
    contents: { blob: PNG }
  },
  {
    name: 'watched-resource',
    uri: 'test://watched-resource',
    description: 'A resource to subscribe to',
    mimeType: 'text/plain',
    contents: { text: 'Watched resource content' }
  }
]

export const RESOURCE_TEMPLATE = {
  name: 'template',
  uriTemplate: 'test://template/{id}/data',
  description: 'Data by id',
  mimeType: 'application/json',
  contents (uri: string, id: string) {
    const data = { id, templateTest: true, data: `Data for ID: ${id}` }
    return { contents: [{ uri, mimeType: 'application/json', text: JSON.stringify(data) }] }
  }
}

export const STATIC_PROMPTS = [
  {
    name: 'test_simple_prompt',
    description: 'A prompt without arguments',
    result: { messages: [message(text('This is a simple prompt for testing.'))] }
  },
  {
    name: 'test_prompt_with_image',
    description: 'A prompt with an image',
    result: { messages: [message(image), message(text('Please analyze the image above.'))] }
  }
]

export const ARGUMENTS_PROMPT = {
  name: 'test_prompt_with_arguments',
  description: 'A prompt with two arguments',
  completions: ['parallel', 'paris', 'park', 'test', 'testing'],
  result: (arg1: string, arg2: string) => ({
    messages: [message(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`))]
  })
}

export const RESOURCE_PROMPT = {
  name: 'test_prompt_with_embedded_resource',
  description: 'A prompt that embeds a resource',
  result: (uri: string) => ({
    messages: [
      message(embedded(uri, 'text/plain', 'Embedded resource content for testing.')),
      message(text('Please process the embedded resource above.'))
    ]
  })
}

export function completionsFor (typed: string): string[] {
  return ARGUMENTS_PROMPT.completions.filter((word) => word.startsWith(typed))
}

export type Form = ElicitRequestFormParams['requestedSchema']

/** What `test_elicitation` asks for. */
export const CONTACT: Form = {
  type: 'object',
  properties: {
    username: { type: 'string', description: "User's response" },
    email: { type: 'string', description: "User's email address" }
  },
  required: ['username', 'email']
}

function titled (...titles: string[]) {
  return titles.map((title, index) => ({ const: `value${index + 1}`, title }))
}

const OPTIONS = ['option1', 'option2', 'option3']

/** Tools that ask the user to fill in a form, by name. */
export const FORMS: Record<string, Form> = {
  test_elicitation_sep1034_defaults: {
    type: 'object',
    properties: {
      name: { type: 'string', default: 'John Doe' },
      age: { type: 'integer', default: 30 },
      score: { type: 'number', default: 95.5 },
      status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
      verified: { type: 'boolean', default: true }
    }
  },
  test_elicitation_sep1330_enums: {
    type: 'object',
    properties: {
      untitledSingle: { type: 'string', enum: OPTIONS },
      titledSingle: { type: 'string', oneOf: titled('First Option', 'Second Option', 'Third Option') },
      legacyEnum: {
        type: 'string',
        enum: ['opt1', 'opt2', 'opt3'],
        enumNames: ['Option One', 'Option Two', 'Option Three']
      },
      untitledMulti: { type: 'array', items: { type: 'string', enum: OPTIONS } },
      titledMulti: { type: 'array', items: { anyOf: titled('First Choice', 'Second Choice', 'Third Choice') } }
    }
  }
}
