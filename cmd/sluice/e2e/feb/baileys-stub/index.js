// Every name that openclaw 2026.2.26 imports from this library. The commands under test load the
// modules and call none of them.
const absent = name => () => { throw new Error(`${name}: the WhatsApp library is not installed in the end-to-end tests`); };
export const DisconnectReason = {};
export const downloadMediaMessage = absent('downloadMediaMessage');
export const extractMessageContent = absent('extractMessageContent');
export const fetchLatestBaileysVersion = absent('fetchLatestBaileysVersion');
export const getContentType = absent('getContentType');
export const isJidGroup = absent('isJidGroup');
export const makeCacheableSignalKeyStore = absent('makeCacheableSignalKeyStore');
export const makeWASocket = absent('makeWASocket');
export const normalizeMessageContent = absent('normalizeMessageContent');
export const useMultiFileAuthState = absent('useMultiFileAuthState');
export default makeWASocket;
